import { describe, expect, it } from 'vitest';
import { DEFAULT_FRAME_LIMITS, encodeFrame, type Frame, FrameReader } from './frame.js';

const limits = DEFAULT_FRAME_LIMITS;

function readAll(bytes: Buffer, step: number): Frame[] {
  const frames: Frame[] = [];
  const reader = new FrameReader(limits);
  for (let at = 0; at < bytes.byteLength; at += step) {
    reader.push(bytes.subarray(at, at + step), (frame) => frames.push(frame));
  }
  return frames;
}

describe('frames', () => {
  const parts = [new Uint8Array([1, 2, 3]), new Uint8Array(0), new Uint8Array(100_000).fill(7)];
  const bytes = Buffer.concat([
    ...encodeFrame({ n: 1 }, parts, limits),
    ...encodeFrame({ n: 2 }, [], limits),
    ...encodeFrame({ n: 'é' }, [new Uint8Array(0)], limits),
  ]);

  it.each([1, 7, 64, 4096, 1_000_000])('come back whole from chunks of %i bytes', (step) => {
    const frames = readAll(bytes, step);
    expect(frames.map((frame) => frame.header)).toEqual([{ n: 1 }, { n: 2 }, { n: 'é' }]);
    expect(frames[0]?.attachments.map((part) => Buffer.compare(part, parts[0] ?? part))).toHaveLength(3);
    frames[0]?.attachments.forEach((part, at) => {
      expect(Buffer.from(part).equals(Buffer.from(parts[at] ?? []))).toBe(true);
      expect(part.byteOffset % 64).toBe(0);
    });
    expect(frames[2]?.attachments).toHaveLength(1);
  });

  it('pass large attachments on without a copy', () => {
    const large = new Uint8Array(1_000_000);
    expect(encodeFrame({}, [large], limits)[1]).toBe(large);
  });

  it.each([
    ['header bytes', [0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0]],
    ['attachments', [2, 0, 0, 0, 0xff, 0xff, 0, 0]],
  ])('with lying %s are refused before anything is allocated', (what, head) => {
    expect(() => new FrameReader(limits).push(Buffer.from(head), () => undefined)).toThrow(what);
  });

  it('with a header that is not JSON are refused', () => {
    const bad = Buffer.from([2, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7b]);
    expect(() => new FrameReader(limits).push(bad, () => undefined)).toThrow('not JSON');
  });

  it('too large to send are refused', () => {
    expect(() => encodeFrame({ text: 'x'.repeat(100) }, [], { ...limits, headerBytes: 50 })).toThrow('at most 50');
  });
});
