import type { NvidiaDevice } from '@warmlane/process';
import { describe, expect, it } from 'vitest';
import { workerDevices } from './worker-devices.js';

const gpu = (index: number, uuid: string | null = null): NvidiaDevice => ({ index, name: 'NVIDIA H100', uuid });
const machine =
  (...gpus: NvidiaDevice[]) =>
  () =>
    Promise.resolve(gpus);

describe('workerDevices', () => {
  it('is one worker for each GPU with auto, by UUID where it is known', async () => {
    const auto = { device: 'auto', workers: 1 };
    expect(await workerDevices(auto, machine())).toEqual(['auto']);
    expect(await workerDevices(auto, machine(gpu(0, 'GPU-a')))).toEqual(['auto']);
    expect(await workerDevices(auto, machine(gpu(0, 'GPU-a'), gpu(1, 'GPU-b')))).toEqual(['GPU-a', 'GPU-b']);
    expect(await workerDevices(auto, machine(gpu(0), gpu(1)))).toEqual(['cuda:0', 'cuda:1']);
  });

  it('is what was named else, as many workers on the CPU as were asked for', async () => {
    expect(await workerDevices({ device: 'cuda:1', workers: 1 }, machine(gpu(0), gpu(1)))).toEqual(['cuda:1']);
    expect(await workerDevices({ device: 'cpu', workers: 3 }, machine(gpu(0)))).toEqual(['cpu', 'cpu', 'cpu']);
    expect(await workerDevices({ device: 'auto', workers: 2 }, machine())).toEqual(['auto', 'auto']);
    await expect(workerDevices({ device: 'auto', workers: 2 }, machine(gpu(0)))).rejects.toThrow(
      /a GPU has one worker/,
    );
  });
});
