import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { lockDevice } from './device-lock.js';
import { lockFile } from './process-control.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'warmlane-locks-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

it('a lock is held by one, who is named, and free again when let go', () => {
  const file = path.join(folder, 'GPU-1.lock');
  const first = lockFile(file);
  expect(first.held).toBe(false);
  expect(lockFile(file)).toEqual({ held: true, by: String(process.pid) });
  if (!first.held) first.release();
  const again = lockFile(file);
  expect(again.held).toBe(false);
  if (!again.held) again.release();
});

it('a device that stays held is refused as busy, naming the holder; one that becomes free is taken', async () => {
  const held = lockFile(path.join(folder, 'warmlane-GPU-1.lock'));
  await expect(lockDevice(folder, 'GPU-1', 50)).rejects.toMatchObject({
    code: 'device-busy',
    message: `device GPU-1 is held by another runtime (process ${process.pid})`,
  });
  const waiting = lockDevice(folder, 'GPU-1', 5000);
  if (!held.held) held.release();
  await waiting;
});
