import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NamedTensor } from '@warmlane/contracts';
import { percentile } from '@warmlane/lanes';
import { stackInput, writeStackModel } from '@warmlane/testing';
import { modelPath, openCaptured, openStage, randomInputs } from './stage.js';

/** What the program prints, one per lane. */
export interface WorkspaceLane {
  model: string;
  shapeKey: string;
  replayP50Ms: number;
  memoryMiB: number;
}

const RUNS = 200;
const WARM_RUNS = 20;
const MIB = 2 ** 20;
const OPTIONS = { cudnn_conv_algo_search: 'HEURISTIC' } as const;
const WIDE = { kind: 'matmul', layers: 4, width: 4096, seed: 1 } as const;

/** Lanes one after the other under this process's own environment: cuBLAS reads it once. */
async function main(): Promise<void> {
  const { ORT_LIB_DIR: libDir, MODELS_DIR: modelsDir } = process.env;
  if (libDir === undefined || modelsDir === undefined) throw new Error('needs ORT_LIB_DIR and MODELS_DIR');
  const scratch = await mkdtemp(join(tmpdir(), 'warmlane-workspace-'));
  try {
    const stage = openStage({ libDir, modelsDir });
    const matmul = join(scratch, 'matmul.onnx');
    await writeStackModel(matmul, WIDE);
    const wide = [1, 64, 512].map((batch) => ({
      ...{ model: 'matmul 4096', path: matmul, shapeKey: `x:float32[${batch},4096]` },
      inputs: [stackInput(WIDE, { batch })],
    }));
    const real = (
      [
        ['rec', 'x:float32[1,3,48,160]'],
        ['rec', 'x:float32[8,3,48,320]'],
        ['det', 'x:float32[1,3,640,480]'],
      ] as const
    ).map(([model, shapeKey]) => ({
      ...{ model, path: modelPath(stage, model), shapeKey },
      inputs: randomInputs(shapeKey, 7),
    }));
    const cases: { model: string; path: string; shapeKey: string; inputs: NamedTensor[] }[] = [...wide, ...real];
    const lanes: WorkspaceLane[] = [];
    for (const { model, path, shapeKey, inputs } of cases) {
      const { free } = stage.cuda.memory();
      const { lane } = await openCaptured(stage, path, shapeKey, OPTIONS);
      const memoryMiB = Math.round((free - stage.cuda.memory().free) / MIB);
      for (let run = 0; run < WARM_RUNS; run += 1) lane.run(inputs);
      const runsMs = Array.from({ length: RUNS }, () => lane.run(inputs).computeMs);
      lanes.push({ model, shapeKey, replayP50Ms: percentile(runsMs, 0.5), memoryMiB });
    }
    process.stdout.write(JSON.stringify(lanes));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

await main();
