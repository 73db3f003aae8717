import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findNvidiaDevices } from './nvidia-devices.js';

let root = '';
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'warmlane-devices-'));
});
afterEach(() => rm(root, { recursive: true }));

describe('findNvidiaDevices', () => {
  it('finds none where the driver shows nothing', async () => {
    expect(await findNvidiaDevices(root)).toEqual([]);
  });

  it('reads name and UUID in the order of the PCI bus', async () => {
    for (const [bus, model] of [
      ['0000:81:00.0', 'NVIDIA L4'],
      ['0000:07:00.0', 'NVIDIA H100 80GB HBM3'],
    ] as const) {
      await mkdir(join(root, 'proc/driver/nvidia/gpus', bus), { recursive: true });
      await writeFile(
        join(root, 'proc/driver/nvidia/gpus', bus, 'information'),
        `Model: \t\t ${model}\nIRQ:   \t\t 99\nGPU UUID: \t GPU-${bus}\n`,
      );
    }
    expect(await findNvidiaDevices(root)).toEqual([
      { index: 0, name: 'NVIDIA H100 80GB HBM3', uuid: 'GPU-0000:07:00.0' },
      { index: 1, name: 'NVIDIA L4', uuid: 'GPU-0000:81:00.0' },
    ]);
  });

  it('falls back to the device files', async () => {
    await mkdir(join(root, 'dev'));
    for (const name of ['nvidia0', 'nvidia1', 'nvidiactl', 'nvidia-uvm', 'null']) {
      await writeFile(join(root, 'dev', name), '');
    }
    expect(await findNvidiaDevices(root)).toHaveLength(2);
  });
});
