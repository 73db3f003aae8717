import { median, type Row, round } from '../support/result.js';
import { modelPath, openCaptured, randomInputs, type Stage, seeded } from './stage.js';

const CASES = [
  { model: 'det', shapeKey: 'x:float32[1,3,960,960]' },
  { model: 'det', shapeKey: 'x:float32[1,3,736,1280]' },
  { model: 'rec', shapeKey: 'x:float32[8,3,48,320]' },
] as const;
const TWINS = 5;
const ROUNDS = 15;
const RUNS = 20;
const SEED = 20_261_127;

/**
 * How far lanes with the very same options are apart, measured in turn as the part `tuner` does: what no choice of options
 * can get below.
 */
export async function measureTwins(stage: Stage): Promise<Row[]> {
  const rows: Row[] = [];
  for (const { model, shapeKey } of CASES) {
    for (const search of ['EXHAUSTIVE', 'HEURISTIC']) {
      rows.push(await measureCase(stage, { model, shapeKey, search }));
    }
  }
  return rows;
}

async function measureCase(
  stage: Stage,
  { model, shapeKey, search }: { model: string; shapeKey: string; search: string },
): Promise<Row> {
  const inputs = randomInputs(shapeKey, 11);
  const random = seeded(SEED);
  const lanes: { run: () => unknown; close: () => void; roundsMs: number[] }[] = [];
  try {
    for (let twin = 0; twin < TWINS; twin += 1) {
      const { lane } = await openCaptured(stage, modelPath(stage, model), shapeKey, { cudnn_conv_algo_search: search });
      lanes.push({ run: () => lane.run(inputs), close: () => lane.close(), roundsMs: [] });
    }
    for (let pass = 0; pass < ROUNDS; pass += 1) {
      const order = lanes.map((lane) => ({ lane, at: random() })).sort((a, b) => a.at - b.at);
      for (const { lane } of order) lane.roundsMs.push(median(timed(lane.run)));
    }
  } finally {
    for (const lane of lanes) lane.close();
  }
  const p50s = lanes.map(({ roundsMs }) => median(roundsMs));
  return {
    ...{ part: 'twins', model, shapeKey, search, lanes: TWINS },
    fastestP50Ms: round(Math.min(...p50s), 3),
    slowestP50Ms: round(Math.max(...p50s), 3),
    spread: round(Math.max(...p50s) / Math.min(...p50s) - 1, 4),
  };
}

function timed(run: () => unknown): number[] {
  run();
  return Array.from({ length: RUNS }, () => {
    const start = performance.now();
    run();
    return performance.now() - start;
  });
}
