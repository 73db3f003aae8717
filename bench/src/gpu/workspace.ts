import { join } from 'node:path';
import type { NamedTensor } from '@warmlane/contracts';
import { percentile } from '@warmlane/lanes';
import type { LaneSession } from '@warmlane/ort';
import { stackInput, writeStackModel } from '@warmlane/testing';
import type { Row } from '../support/result.js';
import { modelPath, openCaptured, randomInputs, type Stage } from './stage.js';

/** What CUBLAS_WORKSPACE_CONFIG may say; `unset` is the library's own choice. */
const CONFIGS = ['unset', ':4096:2:16:8', ':16:8'] as const;
const ROUNDS = 30;
const RUNS = 10;
const MIB = 2 ** 20;
const OPTIONS = { cudnn_conv_algo_search: 'HEURISTIC' } as const;

interface Opened {
  config: string;
  lane: LaneSession;
  memoryMiB: number;
  roundsMs: number[];
}

/** The same lanes with cuBLAS workspaces of different sizes, in one process and in turn: time of a replay, memory of a lane. */
export async function measureWorkspace(stage: Stage, scratch: string): Promise<Row[]> {
  const wide = { kind: 'matmul', layers: 4, width: 4096, seed: 1 } as const;
  const matmul = join(scratch, 'matmul.onnx');
  await writeStackModel(matmul, wide);
  const cases: { model: string; path: string; shapeKey: string; inputs: NamedTensor[] }[] = [];
  for (const batch of [1, 64, 512]) {
    const shapeKey = `x:float32[${batch},4096]`;
    cases.push({ model: 'matmul 4096', path: matmul, shapeKey, inputs: [stackInput(wide, { batch })] });
  }
  for (const [name, shapeKey] of [
    ['rec', 'x:float32[1,3,48,160]'],
    ['rec', 'x:float32[8,3,48,320]'],
    ['det', 'x:float32[1,3,640,480]'],
  ] as const) {
    cases.push({ model: name, path: modelPath(stage, name), shapeKey, inputs: randomInputs(shapeKey, 7) });
  }
  const before = process.env.CUBLAS_WORKSPACE_CONFIG;
  const rows: Row[] = [];
  try {
    for (const { model, path, shapeKey, inputs } of cases) {
      const lanes: Opened[] = [];
      try {
        for (const config of CONFIGS) lanes.push(await open(stage, { config, path, shapeKey }));
        for (let round = 0; round < ROUNDS; round += 1) {
          for (const { lane, roundsMs } of round % 2 === 0 ? lanes : [...lanes].reverse()) {
            const runs = Array.from({ length: RUNS }, () => lane.run(inputs).computeMs);
            roundsMs.push(percentile(runs, 0.5));
          }
        }
        for (const { config, memoryMiB, roundsMs } of lanes) {
          rows.push({ part: 'workspace', model, shapeKey, config, replayP50Ms: percentile(roundsMs, 0.5), memoryMiB });
        }
      } finally {
        for (const { lane } of lanes) lane.close();
      }
    }
  } finally {
    set(before ?? 'unset');
  }
  return rows;
}

/** cuBLAS reads the variable when a handle is made. */
function set(config: string): void {
  if (config === 'unset') delete process.env.CUBLAS_WORKSPACE_CONFIG;
  else process.env.CUBLAS_WORKSPACE_CONFIG = config;
}

async function open(
  stage: Stage,
  { config, path, shapeKey }: { config: string; path: string; shapeKey: string },
): Promise<Opened> {
  set(config);
  const { free } = stage.cuda.memory();
  const { lane } = await openCaptured(stage, path, shapeKey, OPTIONS);
  return { config, lane, memoryMiB: Math.round((free - stage.cuda.memory().free) / MIB), roundsMs: [] };
}
