import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SlotRef } from '@warmlane/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mostSlots } from './most-slots.js';
import { HEADER_BYTES, rootIn } from './slot-layout.js';
import { SlotPool } from './slot-pool.js';
import { SlotReader } from './slot-reader.js';

const OWNER = 'ab'.repeat(16);
const KIB = 1024;
const LONG_MS = 3_600_000;

let dir: string;
let errors: unknown[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'warmlane-slots-'));
  mkdirSync(join(rootIn(dir), OWNER), { recursive: true });
  errors = [];
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const poolOf = (limitBytes: number): SlotPool =>
  new SlotPool({ root: rootIn(dir), owner: OWNER, limitBytes, onFull: (error) => errors.push(error) });
const bytes = (count: number, value: number): Buffer => Buffer.alloc(count, value);
const files = (): string[] => readdirSync(join(rootIn(dir), OWNER)).sort();
function taken(ref: SlotRef | null): SlotRef {
  if (ref === null) throw new Error('no slot');
  return ref;
}

describe('the number of slots', () => {
  it.each([
    ['Max open files            524288               524288               files', 4_096],
    ['Max open files            1024                 4096                 files', 256],
    ['Max open files            unlimited            unlimited            files', 4_096],
  ])('%s: %d', (line, most) => {
    expect(mostSlots(`Limit  Soft Limit  Hard Limit  Units\n${line}\nMax locked memory  8192  8192  bytes\n`)).toBe(
      most,
    );
  });
});

describe('a pool of slots', () => {
  it('writes each file in full, readable by its user alone, and gives back what was written', async () => {
    const pool = poolOf(2 ** 24);
    const reader = new SlotReader(dir);
    for (const count of [64 * KIB, 70_000, 100_000, 300_000, 3_000_001]) {
      const ref = taken(await pool.put(bytes(count, count % 251), LONG_MS));
      expect((await reader.read(ref)).equals(bytes(count, count % 251))).toBe(true);
      expect(reader.readNow(ref).byteLength).toBe(count);
      const { size, blocks, mode } = statSync(reader.fileOf(ref));
      expect(blocks * 512).toBeGreaterThanOrEqual(size);
      expect(mode & 0o777).toBe(0o600);
    }
    expect(pool.bytes).toBe([64, 96, 128, 384, 3072].reduce((sum, kib) => sum + kib * KIB + HEADER_BYTES, 0));
    pool.close();
    expect(files()).toEqual([]);
  });

  it('keeps a file and writes it over; the token shows that it is another use', async () => {
    const pool = poolOf(2 ** 24);
    const reader = new SlotReader(dir);
    const first = taken(await pool.put(bytes(300_000, 1), LONG_MS));
    const other = taken(pool.putNow(bytes(300_000, 2), LONG_MS));
    expect(other.slot).not.toBe(first.slot);
    pool.free(first);
    const second = taken(await pool.put(bytes(290_000, 3), LONG_MS));
    expect(second.slot).toBe(first.slot);
    expect(files()).toEqual(['0', '1']);
    for (const read of [() => reader.read(first), async () => reader.readNow(first)]) {
      await expect(read()).rejects.toMatchObject({ code: 'tensor-gone', retryable: true });
    }
    expect(reader.readNow(second).equals(bytes(290_000, 3))).toBe(true);
    // Freed twice, or after its end: the later use stays.
    pool.free(first);
    reader.free(first);
    const third = taken(await pool.put(bytes(300_000, 4), LONG_MS));
    expect([first.slot, other.slot]).not.toContain(third.slot);
    expect(reader.readNow(second).equals(bytes(290_000, 3))).toBe(true);
    pool.close();
  });

  it('takes back what its reader is done with, and what is past its time', async () => {
    const pool = poolOf(2 * (64 * KIB + HEADER_BYTES));
    const reader = new SlotReader(dir);
    const read = taken(await pool.put(bytes(64 * KIB, 1), LONG_MS));
    taken(await pool.put(bytes(64 * KIB, 2), 0));
    expect(pool.inUse).toBe(2);
    expect(await pool.put(bytes(64 * KIB, 3), LONG_MS)).not.toBeNull();
    expect(await pool.put(bytes(64 * KIB, 4), LONG_MS)).toBeNull();
    reader.free(read);
    expect(taken(await pool.put(bytes(64 * KIB, 5), LONG_MS)).slot).toBe(read.slot);
    expect(errors).toEqual([]);
    pool.close();
  });

  it('finds the one use that its reader is done with among hundreds, a few looks per tensor', () => {
    const count = 600;
    const pool = poolOf(count * (64 * KIB + HEADER_BYTES));
    const reader = new SlotReader(dir);
    const put = (): SlotRef | null => pool.putNow(bytes(64 * KIB, 1), LONG_MS);
    const refs = Array.from({ length: count }, () => taken(put()));
    expect(put()).toBeNull();
    const read = taken(refs.at(-7) ?? null);
    reader.free(read);
    let tries = 1;
    let found = put();
    for (; found === null && tries < count; tries += 1) found = put();
    expect(taken(found).slot).toBe(read.slot);
    expect(tries).toBeLessThanOrEqual(Math.ceil(count / 16) + 1);
    expect(pool.inUse).toBe(count);
    pool.close();
  });

  it('stays within its limit: free slots of other sizes give way, those in use do not', async () => {
    const pool = poolOf(512 * KIB);
    const reader = new SlotReader(dir);
    const large = taken(await pool.put(bytes(256 * KIB, 1), LONG_MS));
    expect(await pool.put(bytes(256 * KIB, 2), LONG_MS)).toBeNull();
    expect(await pool.put(bytes(600 * KIB, 2), LONG_MS)).toBeNull();
    pool.free(large);
    const small = await Promise.all([1, 2, 3, 4, 5].map((value) => pool.put(bytes(120_000, value), LONG_MS)));
    expect(small.filter((ref) => ref !== null)).toHaveLength(3);
    expect(pool.bytes).toBeLessThanOrEqual(512 * KIB);
    expect(() => reader.readNow(large)).toThrow('no longer in shared memory');
    small.forEach((ref, at) => {
      if (ref !== null) expect(reader.readNow(ref).equals(bytes(120_000, at + 1))).toBe(true);
    });
    pool.close();
  });

  it('keeps writers apart that are under way together, also over a close', async () => {
    const pool = poolOf(2 ** 26);
    const reader = new SlotReader(dir);
    const put = (at: number) => pool.put(bytes(500_000 + at, at), LONG_MS);
    const refs = await Promise.all(Array.from({ length: 20 }, (_, at) => put(at)));
    const right = refs.map((ref, at) => reader.readNow(taken(ref)).equals(bytes(500_000 + at, at)));
    expect(right).not.toContain(false);
    const late = [put(20), put(21)];
    pool.close();
    expect(await Promise.all(late)).toEqual([null, null]);
    expect(await put(22)).toBeNull();
    expect(files()).toEqual([]);
  });

  it('answers nothing where no file can be made, and says why', async () => {
    const pool = poolOf(2 ** 24);
    rmSync(join(rootIn(dir), OWNER), { recursive: true });
    expect(await pool.put(bytes(300_000, 1), LONG_MS)).toBeNull();
    expect(pool.putNow(bytes(300_000, 1), LONG_MS)).toBeNull();
    expect(String(errors[0])).toContain('ENOENT');
    pool.close();
  });
});
