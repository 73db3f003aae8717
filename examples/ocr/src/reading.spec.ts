import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { detectionInput, findLines } from './detection.js';
import { readPng } from './image.js';
import { alphabet, decodeLine, recognitionInput } from './recognition.js';

const page = readPng(readFileSync(new URL('../pages/report.png', import.meta.url)));

describe('detectionInput', () => {
  it('keeps a page of a multiple of 32 as it is, and scales a larger one down', () => {
    expect(detectionInput(page).shape).toEqual([1, 3, 480, 640]);
    const large = { width: 1_000, height: 200, pixels: new Uint8Array(200_000) };
    expect(detectionInput(large).shape).toEqual([1, 3, 128, 640]);
  });
});

describe('findLines', () => {
  /** A map of the page's size that is certain inside the given boxes. */
  function mapOf(...boxes: [left: number, top: number, right: number, bottom: number][]): Float32Array {
    const map = new Float32Array(640 * 480);
    for (const [left, top, right, bottom] of boxes) {
      for (let y = top; y < bottom; y += 1) map.fill(0.9, y * 640 + left, y * 640 + right);
    }
    return map;
  }

  it('finds each line grown to its letters, in reading order', () => {
    const found = findLines(mapOf([300, 52, 400, 62], [40, 50, 140, 60], [40, 200, 90, 210]), 640, 480, page);
    expect(found.map(({ left, top }) => [Math.round(left), Math.round(top)])).toEqual([
      [33, 43],
      [293, 45],
      [33, 193],
    ]);
  });

  it('leaves out specks and what is not certain', () => {
    const faint = mapOf([40, 50, 140, 60]).map((value) => value / 2);
    expect(findLines(faint, 640, 480, page)).toEqual([]);
    expect(findLines(mapOf([40, 50, 42, 60]), 640, 480, page)).toEqual([]);
  });
});

describe('recognitionInput', () => {
  it.each([
    [100, 160],
    [160, 320],
    [600, 640],
  ])('puts a line of %i x 40 pixels into width %i', (width, expected) => {
    expect(recognitionInput(page, { left: 0, top: 0, right: width, bottom: 40 }).shape).toEqual([1, 3, 48, expected]);
  });

  it('fills up with zeros on the right', () => {
    const { data } = recognitionInput(page, { left: 0, top: 0, right: 48, bottom: 48 });
    expect(data[0]).not.toBe(0);
    expect([...data.subarray(48, 160)].every((value) => value === 0)).toBe(true);
  });
});

describe('decodeLine', () => {
  it('leaves out repeats and blanks', () => {
    const characters = alphabet('a\nb\n');
    const steps = [1, 1, 0, 1, 2, 3, 0, 2].flatMap((best) => [0, 1, 2, 3].map((at) => (at === best ? 1 : 0)));
    expect(characters).toEqual(['', 'a', 'b', ' ']);
    expect(decodeLine(Float32Array.from(steps), 4, characters)).toBe('aab b');
  });
});
