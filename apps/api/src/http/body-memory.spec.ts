import { describe, expect, it } from 'vitest';
import { BodyMemory } from './body-memory.js';

const MIB = 2 ** 20;

describe('BodyMemory', () => {
  it('gives the memory of an answered body to the next one of about its size', () => {
    const memory = new BodyMemory();
    const first = memory.take(3 * MIB + 5);
    expect(first.byteLength).toBe(3 * MIB + 5);
    memory.give(first);
    expect(memory.spareBytes).toBe(3 * MIB + 64 * 1024);
    expect(memory.take(MIB).buffer).not.toBe(first.buffer);
    const second = memory.take(2 * MIB + 1);
    expect([second.buffer, second.byteLength]).toEqual([first.buffer, 2 * MIB + 1]);
    expect(memory.take(3 * MIB).buffer).not.toBe(first.buffer);
  });

  it('keeps nothing that it did not give, and nothing twice', () => {
    const memory = new BodyMemory();
    memory.give(Buffer.allocUnsafeSlow(MIB));
    expect(memory.spareBytes).toBe(0);
    const body = memory.take(100_000);
    memory.give(body);
    memory.give(body);
    expect(memory.spareBytes).toBe(2 * 64 * 1024);
    expect(memory.take(120_000).buffer).toBe(body.buffer);
    expect(memory.take(120_000).buffer).not.toBe(body.buffer);
  });

  it('keeps no small bodies, none that moved to a thread, and 64 MiB at most', () => {
    const memory = new BodyMemory();
    memory.give(memory.take(1_000));
    const moved = memory.take(MIB);
    structuredClone(moved.buffer, { transfer: [moved.buffer as ArrayBuffer] });
    memory.give(moved);
    expect(memory.spareBytes).toBe(0);
    const bodies = Array.from({ length: 5 }, () => memory.take(16 * MIB));
    for (const body of bodies) memory.give(body);
    expect(memory.spareBytes).toBe(64 * MIB);
  });
});
