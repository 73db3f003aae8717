import type { AnswerHead } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { decodeAnswer, encodeAnswer } from './answer.codec.js';

const output = (name: string, bytes: number, blob: { id: string; bytes: number } | null = null) => ({
  name,
  dtype: 'uint8' as const,
  dims: [bytes],
  bytes,
  blob,
});
const BLOB = { id: '0'.repeat(32), bytes: 9 };
const head = (...outputs: ReturnType<typeof output>[]): AnswerHead => ({
  ok: true,
  lane: 'ready',
  shapeKey: 'x:uint8[3]',
  worker: 'w-0',
  timing: { queueMs: 1, gatherMs: 0, copyMs: 0.5, computeMs: 2.25 },
  outputs,
});

describe('answer codec', () => {
  it('gives back head and bytes, blobs left out', () => {
    const given = head(output('é', 3), output('b', 9, BLOB), output('c', 0), output('d', 2));
    const inline = [Buffer.from([1, 2, 0]), null, Buffer.alloc(0), Buffer.from([255, 254])];
    expect(decodeAnswer(encodeAnswer(given, inline))).toEqual({ head: given, inline });
  });

  it('gives back failures', () => {
    const failed: AnswerHead = {
      ok: false,
      error: { code: 'poison', message: 'm', hint: 'h', retryable: false },
    };
    expect(decodeAnswer(encodeAnswer(failed, []))).toEqual({ head: failed, inline: [] });
  });

  it('refuses outputs that are not what the head says', () => {
    expect(() => encodeAnswer(head(output('a', 3)), [])).toThrow(/1 outputs, got 0/);
    expect(() => encodeAnswer(head(output('a', 3)), [Buffer.alloc(2)])).toThrow(/2 bytes, its head says 3/);
    expect(() => encodeAnswer(head(output('a', 3)), [null])).toThrow(/inline or a blob/);
    expect(() => encodeAnswer(head(output('a', 9, BLOB)), [Buffer.alloc(9)])).toThrow(/inline or a blob/);
  });

  it('refuses what is cut off or another form', () => {
    const value = encodeAnswer(head(output('a', 3)), [Buffer.alloc(3)]);
    for (const bad of [Buffer.alloc(0), Buffer.from('hello'), value.subarray(0, value.byteLength - 1)]) {
      expect(() => decodeAnswer(bad)).toThrow(/not of this version/);
    }
  });
});
