import type { Gpu } from '@warmlane/ort';
import { describe, expect, it } from 'vitest';
import { findGpu } from './device.js';

const gpu = (index: number, uuid: string, name = 'NVIDIA H100 80GB HBM3'): Gpu => ({
  index,
  uuid,
  name,
  memory: { free: 1, total: 1 },
  mig: uuid.startsWith('MIG-'),
});
const A = 'GPU-5d5ba0b6-0d95-0a60-0e4e-000000000001';
const B = 'GPU-5d5ba0b6-0d95-0a60-0e4e-000000000002';
const SLICE = 'MIG-41b8c1f3-0d95-5a60-8e4e-000000000003';
const machine = [gpu(0, A), gpu(1, B), gpu(2, SLICE, 'NVIDIA H100 80GB HBM3 MIG 1g.10gb')];

describe('findGpu', () => {
  it.each([
    ['0', A],
    ['1', B],
    [B, B],
    [SLICE, SLICE],
    ['MIG-41b8', SLICE],
  ])('%s', (visible, uuid) => {
    expect(findGpu(visible, machine).uuid).toBe(uuid);
  });

  it('refuses what is not there, naming every device that is', () => {
    for (const visible of ['7', 'GPU-00000000-0000-0000-0000-000000000000', 'MIG-0']) {
      const refused = (): Gpu => findGpu(visible, machine);
      for (const known of machine) expect(refused).toThrow(`${known.index} ${known.uuid} ${known.name}`);
    }
    expect(() => findGpu('0', [])).toThrow('there is no CUDA device 0: this machine has none');
  });
});
