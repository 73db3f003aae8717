import { parseArgs } from 'node:util';
import type { StackModel } from '@warmlane/testing';
import { measureSharedWeights } from './gpu/shared-weights.js';
import { type Row, round, writeResult } from './support/result.js';

/**
 * `./warmlane bench weights [--mib 256] [--lanes 8]`: what lanes of one model cost with weights of their own and with shared
 * ones, on the CPU. The same on a GPU: part `weights` of `bench/dist/gpu/lanes.js`.
 */
const { values } = parseArgs({
  options: { mib: { type: 'string', default: '256' }, lanes: { type: 'string', default: '8' } },
});
const mib = Number(values.mib);
const stacks: StackModel[] = [
  { kind: 'matmul', layers: Math.max(1, Math.round(mib / 16)), width: 2048, seed: 1 },
  { kind: 'conv', layers: Math.max(1, Math.round(mib / 9)), width: 512, seed: 1 },
];
const rows: Row[] = [];
const figures: Record<string, Record<string, number>> = {};
for (const stack of stacks) {
  const measured = await measureSharedWeights({
    provider: 'cpu',
    visible: '-1',
    libDir: null,
    stack,
    lanes: Number(values.lanes),
  });
  rows.push(...measured.rows);
  figures[stack.kind] = {
    ratio: round(measured.ratio),
    ratioAfterFirst: round(measured.ratioAfterFirst),
    difference: measured.difference,
  };
}
await writeResult({
  name: 'weights',
  device: 'cpu',
  rows,
  figures: { matmul: figures.matmul ?? {}, conv: figures.conv ?? {} },
});
