import { type Box, type GreyImage, resize } from './image.js';

/** Longest side of what is sent; a longer page is scaled down. */
const LONGEST_SIDE = 640;
/** The model halves its input five times. */
const MULTIPLE = 32;
/** Of the colours that the model was trained with: red, green, blue, as shares of full brightness. */
const MEAN = [0.485, 0.456, 0.406];
const DEVIATION = [0.229, 0.224, 0.225];
/** A pixel belongs to text from this probability on; a line counts if its pixels have this on average. */
const PIXEL_THRESHOLD = 0.3;
const LINE_THRESHOLD = 0.6;
/** The model marks the core of a line: its box grows by this times area over circumference. */
const GROWTH = 1.6;
const LEAST_SIDE = 3;

export interface DetectionInput {
  /** 1, 3, height, width. */
  shape: [number, number, number, number];
  data: Float32Array;
}

/** A page in the form that the detection model takes. */
export function detectionInput(page: GreyImage): DetectionInput {
  const scale = Math.min(1, LONGEST_SIDE / Math.max(page.width, page.height));
  const side = (length: number): number => Math.max(MULTIPLE, Math.round((length * scale) / MULTIPLE) * MULTIPLE);
  const [width, height] = [side(page.width), side(page.height)];
  const grey = resize(page, { left: 0, top: 0, right: page.width, bottom: page.height }, width, height);
  const data = new Float32Array(3 * grey.length);
  for (let channel = 0; channel < 3; channel += 1) {
    const mean = MEAN[channel] ?? 0;
    const deviation = DEVIATION[channel] ?? 1;
    for (let at = 0; at < grey.length; at += 1) {
      data[channel * grey.length + at] = ((grey[at] ?? 0) / 255 - mean) / deviation;
    }
  }
  return { shape: [1, 3, height, width], data };
}

/**
 * Boxes of the text lines, from the model's probabilities (`height` x `width`), in pixels of the page, top to bottom and
 * left to right.
 */
export function findLines(probabilities: Float32Array, width: number, height: number, page: GreyImage): Box[] {
  const seen = new Uint8Array(probabilities.length);
  const boxes: Box[] = [];
  for (let at = 0; at < probabilities.length; at += 1) {
    if (seen[at] === 1 || (probabilities[at] ?? 0) <= PIXEL_THRESHOLD) continue;
    const found = flood(probabilities, seen, at, width, height);
    const small = found.box.right - found.box.left < LEAST_SIDE || found.box.bottom - found.box.top < LEAST_SIDE;
    if (!small && found.mean >= LINE_THRESHOLD) boxes.push(grow(found.box, width, height));
  }
  const [scaleX, scaleY] = [page.width / width, page.height / height];
  return boxes
    .map(({ left, top, right, bottom }) => ({
      left: left * scaleX,
      top: top * scaleY,
      right: right * scaleX,
      bottom: bottom * scaleY,
    }))
    .sort(readingOrder);
}

/** The connected pixels around a start: their box and mean probability. Marks them in `seen`. */
function flood(probabilities: Float32Array, seen: Uint8Array, start: number, width: number, height: number) {
  const box: Box = { left: width, top: height, right: 0, bottom: 0 };
  const stack = [start];
  seen[start] = 1;
  let sum = 0;
  let count = 0;
  for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
    const x = at % width;
    const y = (at - x) / width;
    sum += probabilities[at] ?? 0;
    count += 1;
    box.left = Math.min(box.left, x);
    box.right = Math.max(box.right, x + 1);
    box.top = Math.min(box.top, y);
    box.bottom = Math.max(box.bottom, y + 1);
    for (let row = Math.max(0, y - 1); row <= Math.min(height - 1, y + 1); row += 1) {
      for (let column = Math.max(0, x - 1); column <= Math.min(width - 1, x + 1); column += 1) {
        const next = row * width + column;
        if (seen[next] === 1 || (probabilities[next] ?? 0) <= PIXEL_THRESHOLD) continue;
        seen[next] = 1;
        stack.push(next);
      }
    }
  }
  return { box, mean: sum / count };
}

function grow({ left, top, right, bottom }: Box, width: number, height: number): Box {
  const [across, down] = [right - left, bottom - top];
  const by = (across * down * GROWTH) / (2 * (across + down));
  return {
    left: Math.max(0, left - by),
    top: Math.max(0, top - by),
    right: Math.min(width, right + by),
    bottom: Math.min(height, bottom + by),
  };
}

/** Boxes whose middles lie within half a line's height are of one row. */
function readingOrder(a: Box, b: Box): number {
  const middle = ({ top, bottom }: Box): number => (top + bottom) / 2;
  const sameRow = Math.abs(middle(a) - middle(b)) < Math.min(a.bottom - a.top, b.bottom - b.top) / 2;
  return sameRow ? a.left - b.left : a.top - b.top;
}
