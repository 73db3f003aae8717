import { detectionInput, findLines } from './detection.js';
import type { GreyImage } from './image.js';
import { type Answer, infer } from './inference.js';
import { decodeLine, recognitionInput } from './recognition.js';

/** One request that was sent, for the table. */
export interface Sent {
  model: string;
  shape: string;
  lane: string;
  ms: number;
  computeMs: number;
}

export interface PageText {
  lines: string[];
  /** Wall time of the whole page, ms. */
  ms: number;
}

/** Reads pages by two models of a server: one request finds the lines, then one request per line, all at once. */
export class PageReader {
  readonly sent: Sent[] = [];

  constructor(
    private readonly url: string,
    private readonly models: { det: string; rec: string },
    private readonly characters: readonly string[],
  ) {}

  async read(page: GreyImage): Promise<PageText> {
    const begun = performance.now();
    const { det, rec } = this.models;
    const input = detectionInput(page);
    const [, , height, width] = input.shape;
    const found = await this.#send(det, input);
    const boxes = findLines(found.data, width, height, page);
    const lines = await Promise.all(
      boxes.map(async (box) => {
        const answer = await this.#send(rec, recognitionInput(page, box));
        return decodeLine(answer.data, answer.shape[2] ?? 1, this.characters);
      }),
    );
    return { lines: lines.filter((line) => line !== ''), ms: performance.now() - begun };
  }

  async #send(model: string, input: { shape: readonly number[]; data: Float32Array }): Promise<Answer> {
    const answer = await infer(this.url, model, input);
    const { lane, ms, computeMs } = answer;
    this.sent.push({ model, shape: input.shape.join('x'), lane, ms, computeMs });
    return answer;
  }
}
