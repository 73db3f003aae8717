import { type Box, type GreyImage, resize } from './image.js';

/** Lines are sent in these widths only: the narrowest that fits, filled up on the right. A longer line is squeezed. */
const LINE_WIDTHS = [160, 320, 480, 640] as const;
const LINE_HEIGHT = 48;
/** The model's own word for "no character here". */
const BLANK = 0;

export interface RecognitionInput {
  /** 1, 3, 48, width. */
  shape: [number, number, number, number];
  data: Float32Array;
}

/** One line of a page in the form that the recognition model takes. */
export function recognitionInput(page: GreyImage, box: Box): RecognitionInput {
  const ratio = (box.right - box.left) / Math.max(1, box.bottom - box.top);
  const widest = LINE_WIDTHS[LINE_WIDTHS.length - 1] ?? LINE_HEIGHT;
  const own = Math.min(widest, Math.max(1, Math.round(LINE_HEIGHT * ratio)));
  const width = LINE_WIDTHS.find((one) => one >= own) ?? widest;
  const grey = resize(page, box, own, LINE_HEIGHT);
  const plane = LINE_HEIGHT * width;
  const data = new Float32Array(3 * plane);
  for (let y = 0; y < LINE_HEIGHT; y += 1) {
    for (let x = 0; x < own; x += 1) {
      const value = ((grey[y * own + x] ?? 0) / 255 - 0.5) / 0.5;
      for (let channel = 0; channel < 3; channel += 1) data[channel * plane + y * width + x] = value;
    }
  }
  return { shape: [1, 3, LINE_HEIGHT, width], data };
}

/** What the model can write, by its index: the blank, the characters of its list, the space. */
export function alphabet(list: string): string[] {
  return ['', ...list.split('\n').filter((line) => line !== ''), ' '];
}

/** The text of one line from its `steps` x `classes` probabilities: the best per step, repeats and blanks left out. */
export function decodeLine(probabilities: Float32Array, classes: number, characters: readonly string[]): string {
  let text = '';
  let before = BLANK;
  for (let from = 0; from + classes <= probabilities.length; from += classes) {
    let best = 0;
    for (let at = 1; at < classes; at += 1) {
      if ((probabilities[from + at] ?? 0) > (probabilities[from + best] ?? 0)) best = at;
    }
    if (best !== BLANK && best !== before) text += characters[best] ?? '';
    before = best;
  }
  return text.trim();
}
