import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NamedTensor, SlotRef } from '@warmlane/contracts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HostPeers } from './host-peers.js';
import { ownLife } from './life.js';
import { SharedMemory, type SharedMemoryOptions } from './shared-memory.js';
import { rootIn } from './slot-layout.js';
import { bytesOfTensor, loadTensors, revive, SlotTensor } from './slot-tensor.js';
import { sweep } from './sweep.js';

const DEAD = { pid: 2 ** 22 + 1, start: '1' };
const LONG_MS = 60_000;

let dir: string;
let warnings: string[];
const open: SharedMemory[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'warmlane-shared-'));
  warnings = [];
});
afterEach(() => {
  for (const memory of open.splice(0)) memory.close();
  rmSync(dir, { recursive: true, force: true });
});

function memoryOf(over: Partial<SharedMemoryOptions> = {}): SharedMemory {
  const log = {
    warn: (details: object, message: string) => void warnings.push(`${message} ${JSON.stringify(details)}`),
  };
  const memory = new SharedMemory({ dir, limitBytes: 2 ** 24, log, ...over });
  open.push(memory);
  return memory;
}
const data = Buffer.alloc(100_000, 7);
const spec = { name: 'x', dtype: 'uint8' as const, dims: [100_000] };
async function stored(memory: SharedMemory): Promise<SlotRef> {
  const ref = await memory.put(data, LONG_MS);
  if (ref === null) throw new Error('no slot');
  return ref;
}

describe('shared memory of a process', () => {
  it('takes large tensors, proves itself to whoever reads its nonce, and is gone when it closes', async () => {
    const [api, worker] = [memoryOf(), memoryOf()];
    const ref = await stored(api);
    expect(ref.owner).toBe(api.owner);
    expect((await worker.reader.read(ref)).equals(data)).toBe(true);
    expect(await api.put(Buffer.alloc(1_000), LONG_MS)).toBeNull();
    expect(warnings).toEqual([]);
    expect(worker.proofFor(api.owner ?? '')).toBe(api.nonce);
    expect(worker.proofFor('0'.repeat(32))).toBeNull();
    expect(statSync(rootIn(dir)).mode & 0o777).toBe(0o700);
    api.close();
    expect(() => worker.reader.readNow(ref)).toThrow('no longer in shared memory');
    expect(readdirSync(rootIn(dir))).toEqual([worker.owner]);
  });

  it.each([
    ['a tmpfs that is not there', { dir: '/dev/null/shm' }, 'ENOTDIR'],
    ['a pool that is full', { limitBytes: 2 ** 16 }, 'the pool is full'],
  ])('%s: no slot, one line, and no proof', async (_what, over, reason) => {
    const memory = memoryOf(over);
    for (let at = 0; at < 5; at += 1) expect(await memory.put(data, LONG_MS)).toBeNull();
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain(reason);
    expect(warnings[0]).toContain('WARMLANE_SHM_DIR');
  });

  it('none is wanted: nothing is made', async () => {
    const memory = memoryOf({ limitBytes: 0 });
    expect(await memory.put(data, LONG_MS)).toBeNull();
    expect([memory.owner, memory.nonce, memory.bytes, readdirSync(dir)]).toEqual([null, null, 0, []]);
    expect(memory.proofFor(memoryOf().owner ?? '')).toBeNull();
  });

  it('a root that is no folder of this user is left alone', () => {
    writeFileSync(rootIn(dir), 'in the way');
    expect(memoryOf().owner).toBeNull();
    expect(warnings[0]).toContain('EEXIST');
  });
});

describe('a sweep', () => {
  const folderOf = (name: string, alive: object | null, ageMs = 0): string => {
    const folder = join(rootIn(dir), name);
    mkdirSync(folder, { recursive: true });
    if (alive !== null) writeFileSync(join(folder, 'alive'), JSON.stringify(alive));
    const at = new Date(Date.now() - ageMs);
    if (alive !== null) utimesSync(join(folder, 'alive'), at, at);
    utimesSync(folder, at, at);
    return folder;
  };

  it.each([
    ['a process that lives', {}, LONG_MS, false],
    ['a dead process', { ...DEAD, keeper: null }, 0, true],
    ['a later process with the pid', { start: '1', keeper: null }, 0, true],
    ['a dead runtime of a worker that lives, just now', { ...DEAD, keeper: ownLife() }, 0, false],
    ['the same after half a minute', { ...DEAD, keeper: ownLife() }, 31_000, true],
    ['a dead runtime of a dead worker', { ...DEAD, keeper: DEAD }, 0, true],
    ['a process of another pid namespace', { ...DEAD, namespace: 'pid:[1]', keeper: null }, 60_000, false],
    ['the same, silent for long', { ...DEAD, namespace: 'pid:[1]', keeper: null }, 301_000, true],
    ['a process of another boot', { boot: 'another', keeper: null }, 0, true],
  ])('%s', (_what, over, ageMs, swept) => {
    const folder = folderOf('cd'.repeat(16), { ...ownLife(), keeper: null, ...over }, ageMs);
    writeFileSync(join(folder, '0'), 'bytes');
    expect(sweep(dir)).toBe(swept ? 1 : 0);
    expect(existsSync(folder)).toBe(!swept);
  });

  it('deletes what never got its name, and leaves alone what is none of ours', () => {
    const old = folderOf('.draft-old', null, 61_000);
    const fresh = folderOf('.draft-new', null);
    const foreign = folderOf('something', null, LONG_MS);
    expect(sweep(dir)).toBe(1);
    expect([old, fresh, foreign].map((folder) => existsSync(folder))).toEqual([false, true, true]);
    expect(sweep('/dev/null/none')).toBe(0);
  });

  it('is done at the start', () => {
    const folder = folderOf('cd'.repeat(16), { ...ownLife(), ...DEAD, keeper: null });
    memoryOf();
    expect(existsSync(folder)).toBe(false);
  });
});

describe('a tensor in a slot', () => {
  it('crosses to another process as a reference, and can be read there', async () => {
    const memory = memoryOf();
    const ref = await stored(memory);
    const sent: unknown = JSON.parse(JSON.stringify([new SlotTensor(spec, ref, memory.reader)]));
    expect(sent).toEqual([{ ...spec, slot: ref }]);
    const [tensor] = revive(sent as NamedTensor[], memory.reader);
    if (!(tensor instanceof SlotTensor)) throw new Error('not revived');
    expect(bytesOfTensor(tensor)).toBe(data.byteLength);
    const [loaded] = await loadTensors([tensor]);
    expect(Buffer.from(loaded?.data ?? []).equals(data)).toBe(true);
    expect(Object.keys(loaded ?? {})).toEqual(['name', 'dtype', 'dims', 'data']);
    expect(Buffer.from(tensor.data).equals(data)).toBe(true);
    tensor.free();
    expect(memory.inUse).toBe(1);
    // Its mark is found when room is needed.
    const again = await Promise.all([memory.put(data, LONG_MS), memory.put(data, LONG_MS)]);
    expect(again.map((one) => one?.slot)).toContain(ref.slot);
  });
});

describe('workers of the same host', () => {
  it('are those that sent the nonce, as long as they do', () => {
    let nonce: string | null = 'n1';
    const peers = new HostPeers(() => nonce);
    peers.answered('a', 'n1');
    expect([peers.include(['a']), peers.include(['a', 'b']), peers.include([])]).toEqual([true, false, false]);
    peers.answered('b', 'n1');
    expect(peers.include(['a', 'b'])).toBe(true);
    peers.answered('b', undefined);
    expect(peers.include(['a', 'b'])).toBe(false);
    peers.distrust();
    expect(peers.include(['a'])).toBe(false);
    nonce = null;
    peers.answered('a', 'n1');
    expect(peers.include(['a'])).toBe(false);
  });
});
