import type { NvidiaDevice } from '@warmlane/process';
import { describe, expect, it } from 'vitest';
import { resolveDevice } from './device.js';

const uuid = 'GPU-5d5ba0b6-0d95-0a60-0e4e-000000000001';
const one: NvidiaDevice = { index: 0, name: 'NVIDIA H100', uuid };
const machine =
  (...devices: NvidiaDevice[]) =>
  () =>
    Promise.resolve(devices);

describe('resolveDevice', () => {
  it('takes the CPU with auto only where there is no NVIDIA device', async () => {
    expect(await resolveDevice('auto', machine())).toEqual({ provider: 'cpu' });
    expect(await resolveDevice('auto', machine(one))).toEqual({ provider: 'cuda', visible: '0' });
    expect(await resolveDevice('cpu', machine(one))).toEqual({ provider: 'cpu' });
  });

  it('hands numbers and UUIDs to the runtime, which asks the driver', async () => {
    expect(await resolveDevice('cuda:0', machine(one))).toEqual({ provider: 'cuda', visible: '0' });
    for (const device of [uuid, 'MIG-41b8c1f3-0d95-5a60-8e4e-000000000003']) {
      expect(await resolveDevice(device, machine(one))).toEqual({ provider: 'cuda', visible: device });
    }
  });

  it('refuses a number that is not there with those that are', async () => {
    await expect(resolveDevice('cuda:3', machine(one))).rejects.toThrow(`this machine has cuda:0 ${uuid} NVIDIA H100`);
    await expect(resolveDevice('cuda:0', machine())).rejects.toThrow('this machine has no NVIDIA device');
  });
});
