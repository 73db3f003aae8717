import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { NamedTensor } from '@warmlane/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ReferenceCache } from './reference-cache.js';

let folder: string;
const warnings: string[] = [];
const open = (maxBytes = 1_000_000): ReferenceCache =>
  new ReferenceCache(folder, maxBytes, (text) => warnings.push(text));
const outputs = (bytes: number): NamedTensor[] => [
  { name: 'y', dtype: 'uint8', dims: [bytes], data: new Uint8Array(bytes).fill(5) },
  { name: 'empty', dtype: 'float32', dims: [0, 2], data: new Uint8Array(0) },
];
const onlyFile = (): string => path.join(folder, 'sha256-ab', readdirSync(path.join(folder, 'sha256-ab'))[0] ?? '');
const plain = (tensors: NamedTensor[] | null): unknown => tensors?.map((t) => ({ ...t, data: [...t.data] }));

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'warmlane-references-'));
  warnings.length = 0;
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('the reference cache', () => {
  it('gives back what was put, also to a later life, by digest and key', () => {
    open().put('sha256:ab', 'key', outputs(9));
    const later = open();
    expect(plain(later.get('sha256:ab', 'key'))).toEqual(plain(outputs(9)));
    expect(later.get('sha256:ab', 'other')).toBeNull();
    expect(later.get('sha256:cd', 'key')).toBeNull();
  });

  it('takes a damaged file for absent, deletes it and says so', () => {
    const cache = open();
    cache.put('sha256:ab', 'key', outputs(9));
    const bytes = readFileSync(onlyFile());
    bytes[bytes.length - 1] = 6;
    writeFileSync(onlyFile(), bytes);
    expect(cache.get('sha256:ab', 'key')).toBeNull();
    expect(readdirSync(path.join(folder, 'sha256-ab'))).toEqual([]);
    expect(warnings[0]).toContain('damaged');
    writeFileSync(path.join(folder, 'sha256-ab', 'x.bin'), 'short');
    expect(cache.bytes).toBe(0);
  });

  it('goes without a folder that cannot be written, and says so once', () => {
    writeFileSync(path.join(folder, 'file'), '');
    const below = path.join(folder, 'file', 'references');
    const cache = new ReferenceCache(below, 1000, (text) => warnings.push(text));
    for (const key of ['1', '2', '3']) {
      cache.put('a', key, outputs(9));
      expect(cache.get('a', key)).toBeNull();
    }
    expect(cache.bytes).toBe(0);
    expect(warnings.filter((text) => text.startsWith('cannot keep references'))).toEqual([
      expect.stringContaining(`${below}, they are computed again instead: ENOTDIR`),
    ]);
  });

  it('counts what another worker keeps in the same folder, and misses what it deleted', () => {
    const [one, other] = [open(3000), open(3000)];
    one.put('a', '1', outputs(300));
    for (let n = 0; n < 64; n++) other.put('b', String(n), outputs(10));
    expect(other.bytes).toBeLessThanOrEqual(3000);
    expect(one.get('a', '1')).toBeNull();
    expect(one.bytes).toBe(0);
  });

  it('deletes the least recently used above its bound, and the leftovers of an earlier life', () => {
    const cache = open(1200);
    cache.put('a', '1', outputs(300));
    cache.put('a', '2', outputs(300));
    for (const [at, name] of readdirSync(path.join(folder, 'a')).entries()) {
      utimesSync(path.join(folder, 'a', name), at, at);
    }
    for (const [name, second] of [
      ['dead.tmp', 0],
      ['being-written.tmp', Date.now() / 1000],
    ] as const) {
      writeFileSync(path.join(folder, 'a', name), 'half');
      utimesSync(path.join(folder, 'a', name), second, second);
    }
    const later = open(1200);
    expect(readdirSync(path.join(folder, 'a')).filter((name) => name.endsWith('.tmp'))).toEqual(['being-written.tmp']);
    const kept = later.get('a', '1');
    expect(kept).not.toBeNull();
    later.put('a', '3', outputs(300));
    expect(later.get('a', '2')).toBeNull();
    expect(later.get('a', '1')).not.toBeNull();
    expect(later.bytes).toBeLessThanOrEqual(1200);
    later.put('a', 'huge', outputs(2000));
    expect(later.get('a', 'huge')).toBeNull();
  });
});
