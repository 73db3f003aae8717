import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { toFloat32Model } from './bfloat16-model.js';
import { bytesField, fields, varintField } from './protobuf.js';

const text = (number: number, value: string): Buffer => bytesField(number, Buffer.from(value));
/** A model whose graph holds one initialiser. */
const modelOf = (tensor: Buffer): Buffer =>
  Buffer.concat([varintField(1, 8), bytesField(7, Buffer.concat([text(2, 'g'), bytesField(5, tensor)]))]);
const entry = (key: string, value: string): Buffer => bytesField(13, Buffer.concat([text(1, key), text(2, value)]));

/** The initialiser of a converted model: its dtype, and its floats. */
function converted(tensor: Buffer, folder = '/nowhere'): { dtype: number; values: number[]; names: string[] } {
  const form = toFloat32Model(modelOf(tensor), folder);
  if (form === null) throw new Error('nothing was bfloat16');
  const graph = [...fields(form.model)].find((field) => field.number === 7);
  const found = [...fields(graph?.content ?? Buffer.alloc(0))].find((field) => field.number === 5);
  const parts = [...fields(found?.content ?? Buffer.alloc(0))];
  const raw = Uint8Array.from(parts.find((field) => field.number === 9)?.content ?? []);
  return {
    dtype: Number(parts.find((field) => field.number === 2)?.value),
    values: [...new Float32Array(raw.buffer)],
    names: parts.filter((field) => field.number === 8).map((field) => field.content.toString()),
  };
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'warmlane-bfloat16-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const BFLOAT16 = varintField(2, 16);
const NAME = text(8, 'w');

describe('the float32 form of a bfloat16 initialiser', () => {
  it('comes from raw bytes', () => {
    const tensor = Buffer.concat([
      varintField(1, 2),
      BFLOAT16,
      NAME,
      bytesField(9, Buffer.from([0x80, 0x3f, 0, 0xc0])),
    ]);
    expect(converted(tensor)).toEqual({ dtype: 1, values: [1, -2], names: ['w'] });
  });

  it('comes from integers, packed or one by one', () => {
    const packed = bytesField(5, Buffer.from([0x80, 0x7f, 0x80, 0x80, 0x03]));
    expect(converted(Buffer.concat([BFLOAT16, packed, NAME])).values).toEqual([1, -2]);
    const single = [varintField(5, 0x3f80), varintField(5, 0xc000)];
    expect(converted(Buffer.concat([BFLOAT16, ...single, NAME])).values).toEqual([1, -2]);
  });

  it('comes from a file beside the model, from its part of it', () => {
    writeFileSync(path.join(folder, 'w.bin'), Buffer.from([9, 9, 0x80, 0x3f, 0, 0xc0]));
    const part = [entry('location', 'w.bin'), entry('offset', '2'), entry('length', '4')];
    expect(converted(Buffer.concat([BFLOAT16, NAME, ...part]), folder).values).toEqual([1, -2]);
    const rest = [entry('location', 'w.bin'), entry('offset', '4')];
    expect(converted(Buffer.concat([BFLOAT16, NAME, ...rest]), folder).values).toEqual([-2]);
  });

  it.each([
    ['outside of the folder', [entry('location', '../w.bin')], /outside/],
    ['shorter than it says', [entry('location', 'w.bin'), entry('length', '80')], /shorter/],
  ])('does not come from a file %s', (_what, parts, message) => {
    expect(() => converted(Buffer.concat([BFLOAT16, NAME, ...parts]), folder)).toThrow(message);
  });
});

it('a model without bfloat16 has no such form', () => {
  expect(toFloat32Model(modelOf(Buffer.concat([varintField(2, 1), NAME])), folder)).toBeNull();
});

it('an attribute of 16 that is no dtype stays', () => {
  const attribute = (name: string): Buffer => bytesField(5, Buffer.concat([text(1, name), varintField(3, 16)]));
  const node = (name: string): Buffer => bytesField(1, attribute(name));
  const graph = (name: string): Buffer => bytesField(7, node(name));
  expect(toFloat32Model(graph('axis'), folder)).toBeNull();
  expect(toFloat32Model(graph('to'), folder)).not.toBeNull();
});

it('bytes that are no message are refused', () => {
  expect(() => toFloat32Model(Buffer.from('this is no model'), folder)).toThrow('no ONNX model');
});
