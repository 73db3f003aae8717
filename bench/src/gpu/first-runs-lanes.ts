import { readFileSync } from 'node:fs';
import type { LaneSession } from '@warmlane/ort';
import { modelPath, openLane, openStage, randomInputs } from './stage.js';
import { SHAPES } from './warm16-shapes.js';

/** What making the lanes of `warm16` took in this process, before any capture. */
export interface FirstRuns {
  sideBySide: number;
  wallSeconds: number;
  /** Of all threads of this process. */
  cpuSeconds: number;
  /** Sums over the lanes: side by side they are more than the wall's. */
  createSeconds: number;
  firstSeconds: number;
  /** cuDNN compiled kernels here, by NVRTC. */
  compiledKernels: boolean;
  firstMs: Record<string, number>;
}

/** `node first-runs-lanes.js N`: creates the lanes of `warm16` and runs each once, N at a time. Prints {@link FirstRuns}. */
async function main(sideBySide: number): Promise<void> {
  const { ORT_LIB_DIR: libDir = '', MODELS_DIR: modelsDir = '' } = process.env;
  const stage = openStage({ libDir, modelsDir });
  const path = modelPath(stage, 'rec');
  const lanes: LaneSession[] = [];
  const waiting = [...SHAPES];
  const firstMs: Record<string, number> = {};
  let createMs = 0;
  const begun = performance.now();
  const before = process.cpuUsage();
  const makeInTurn = async (): Promise<void> => {
    for (let shape = waiting.shift(); shape !== undefined; shape = waiting.shift()) {
      const start = performance.now();
      const lane = await openLane(stage, path, shape, { cudnn_conv_algo_search: 'HEURISTIC' });
      lanes.push(lane);
      createMs += performance.now() - start;
      firstMs[shape] = (await lane.first(randomInputs(shape, 1))).firstMs;
    }
  };
  await Promise.all(Array.from({ length: sideBySide }, makeInTurn));
  const { user, system } = process.cpuUsage(before);
  const found: FirstRuns = {
    sideBySide,
    wallSeconds: (performance.now() - begun) / 1_000,
    cpuSeconds: (user + system) / 1e6,
    createSeconds: createMs / 1_000,
    firstSeconds: Object.values(firstMs).reduce((a, b) => a + b, 0) / 1_000,
    compiledKernels: /libnvrtc|runtime_compiled/.test(readFileSync('/proc/self/maps', 'utf8')),
    firstMs,
  };
  process.stdout.write(JSON.stringify(found));
  for (const lane of lanes) lane.close();
}

await main(Number(process.argv[2]));
