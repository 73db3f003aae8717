import { chmodSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { NamedTensor } from '@warmlane/contracts';
import { runCommand } from '@warmlane/process';
import { SharedMemory, SlotTensor } from '@warmlane/shm';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RuntimeSlots } from '../../apps/runtime/src/runtime-slots.js';

const LIBRARY = new URL('../../libs/shm/dist/index.js', import.meta.url).href;
const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const NAMESPACE = ['--user', '--map-root-user', '--mount'];
const mounts = (await runCommand('unshare', [...NAMESPACE, 'true'], { timeoutMs: 5_000 })).code === 0;
const LONG_MS = 60_000;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'warmlane-tmpfs-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe('slots of shared memory', () => {
  it.skipIf(!mounts)('in a tmpfs of 64 MB: what does not fit goes another way [needs mount]', async () => {
    const inside = `mount -t tmpfs -o size=64m none '${dir}' && exec "$@"`;
    const args = [...NAMESPACE, 'sh', '-c', inside, 'sh', process.execPath, script('slot-limits.mjs'), dir, LIBRARY];
    const { code, stdout, stderr } = await runCommand('unshare', args, { timeoutMs: 50_000 });
    expect(code, stderr).toBe(0);
    const found: unknown = JSON.parse(stdout);
    expect(found).toEqual({
      // Slots of 12 MiB: five fit, the sixth is taken back.
      whole: [true, true, true, true, true, false, false],
      now: false,
      // A quarter of it holds three slots of 4 MiB with their headers.
      fitting: [true, true, true, false, false],
      modestBytes: 3 * (2 ** 22 + 4096),
      again: true,
      third: false,
      warnings: [expect.stringContaining('ENOSPC'), 'the pool is full'],
    });
  });

  it('are nothing to another user', async () => {
    chmodSync(dir, 0o1777);
    const memory = new SharedMemory({ dir, limitBytes: null });
    const ref = await memory.put(Buffer.alloc(100_000, 1), LONG_MS);
    if (ref === null) throw new Error('no slot');
    const file = memory.reader.fileOf(ref);
    const mode = (path: string): number => statSync(path).mode & 0o777;
    expect([mode(file), mode(dirname(file)), mode(dirname(dirname(file)))]).toEqual([0o600, 0o700, 0o700]);
    // Without root nobody can become another user; the modes are all that can be looked at.
    if (process.getuid?.() === 0) {
      const args = [script('slot-reader-as.mjs'), dir, LIBRARY, ref.owner, file];
      const { code, stdout, stderr } = await runCommand(process.execPath, args, { timeoutMs: 50_000 });
      expect(code, stderr).toBe(0);
      expect(JSON.parse(stdout)).toEqual({ file: 'EACCES', slot: 'tensor-gone', proof: null, own: true });
    }
    memory.close();
  });

  it('are mapped by the runtime: no copy, and gone when their token changed or their file was deleted', async () => {
    const worker = new SharedMemory({ dir, limitBytes: 2 ** 24 });
    const slots = RuntimeSlots.open({ dir, limitBytes: 2 ** 24, keeperPid: process.pid });
    const spec = { name: 'x', dtype: 'uint8' as const, dims: [1_000_000] };
    const send = async (value: number): Promise<SlotTensor> => {
      const ref = await worker.put(Buffer.alloc(1_000_000, value), LONG_MS);
      if (ref === null) throw new Error('no slot');
      return new SlotTensor(spec, ref, worker.reader);
    };
    const first = await send(1);
    const [opened] = slots.open([first]);
    expect(Buffer.from(opened?.data ?? []).equals(Buffer.alloc(1_000_000, 1))).toBe(true);
    worker.free(first.slot);
    const second = await send(2);
    expect(second.slot.slot).toBe(first.slot.slot);
    expect(() => slots.open([first])).toThrow('no longer in shared memory');
    expect(slots.open([second])[0]?.data[999_999]).toBe(2);
    const small: NamedTensor = { ...spec, dims: [4], data: new Uint8Array(4) };
    const outputs = [{ ...spec, data: opened?.data ?? new Uint8Array() }, small];
    const [back, kept] = slots.handOut({ outputs, copyMs: 0, computeMs: 0 }, true).outputs;
    if (!(back instanceof SlotTensor)) throw new Error('not in a slot');
    expect(kept?.data.buffer).not.toBe(small.data.buffer);
    expect((await worker.reader.read(back.slot)).every((byte) => byte === 2)).toBe(true);
    worker.close();
    const third = new SlotTensor(spec, { ...second.slot, slot: 7 }, worker.reader);
    expect(() => slots.open([third])).toThrow('no longer in shared memory');
    slots.close();
  });
});
