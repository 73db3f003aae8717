import type { NamedTensor } from '@warmlane/contracts';
import {
  cpuReference,
  type ModelName,
  modelPath,
  openCaptured,
  openPlain,
  randomInputs,
  SHAPES,
  type Stage,
  seeded,
  summary,
  worstError,
} from './stage.js';

/** The options a plain session is run with; `ortDefault` is what somebody gets who sets nothing. */
const PLAIN = { heuristic: { cudnn_conv_algo_search: 'HEURISTIC' }, ortDefault: {} } as const;
type PlainName = keyof typeof PLAIN;
const PLAIN_REQUESTS = 200;
const LANE_REQUESTS = 3000;
/** Options of the lanes: the best of the algorithm searches, as the tuner's table for this device has it. */
const LANE_OPTIONS = { cudnn_conv_algo_search: 'HEURISTIC' } as const;

export interface MixedRow {
  part: 'mixed';
  model: ModelName;
  what: PlainName | 'lanes';
  requests: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
  worstError: number;
}

/** The order of requests is one seeded sequence; the plain sessions take its first 200, the lanes 3,000. */
function order(count: number, shapes: number): number[] {
  const random = seeded(20_261_124);
  return Array.from({ length: count }, () => Math.floor(random() * shapes));
}

/**
 * Random traffic over all shapes of one model: a plain session by its own options, then one lane per shape. Every shape
 * ran once on the plain session before the clock starts, as a warm-up by "run each shape once" would do.
 */
export async function measureMixed(stage: Stage, model: ModelName): Promise<MixedRow[]> {
  const path = modelPath(stage, model);
  const shapes = SHAPES[model];
  const inputs = new Map<string, NamedTensor[]>(shapes.map((key, at) => [key, randomInputs(key, 100 + at)]));
  const reference = await cpuReference(stage, path, inputs);
  const given = (key: string) => inputs.get(key) ?? [];
  const expected = (key: string) => reference.outputs.get(key) ?? [];
  const keys = order(LANE_REQUESTS, shapes.length).flatMap((at) => shapes[at] ?? []);
  const rows: MixedRow[] = [];

  for (const what of Object.keys(PLAIN) as PlainName[]) {
    const session = await openPlain(stage, path, PLAIN[what]);
    try {
      let error = 0;
      for (const key of shapes)
        error = Math.max(error, worstError(reference.metadata, session.run(given(key)).outputs, expected(key)));
      const runsMs = keys.slice(0, PLAIN_REQUESTS).map((key) => {
        const start = performance.now();
        session.run(given(key));
        return performance.now() - start;
      });
      rows.push({ part: 'mixed', model, what, requests: runsMs.length, ...summary(runsMs), worstError: error });
    } finally {
      session.close();
    }
  }

  const lanes = new Map<string, Awaited<ReturnType<typeof openCaptured>>['lane']>();
  try {
    for (const key of shapes) lanes.set(key, (await openCaptured(stage, path, key, LANE_OPTIONS)).lane);
    let error = 0;
    const runsMs: number[] = [];
    for (const key of keys) {
      const lane = lanes.get(key);
      if (lane === undefined) continue;
      for (const tensor of given(key)) lane.inputView(tensor.name).set(tensor.data);
      const start = performance.now();
      lane.runInPlace();
      runsMs.push(performance.now() - start);
    }
    for (const [key, lane] of lanes) {
      lane.poisonOutputs();
      error = Math.max(error, worstError(reference.metadata, lane.run(given(key)).outputs, expected(key)));
    }
    rows.push({ part: 'mixed', model, what: 'lanes', requests: runsMs.length, ...summary(runsMs), worstError: error });
  } finally {
    for (const lane of lanes.values()) lane.close();
  }
  return rows;
}

type Ratios = Record<PlainName, number>;

/** p99 and p50 of the plain sessions over those of the lanes. */
export function mixedRatios(rows: readonly MixedRow[], model: ModelName): { p99: Ratios; p50: Ratios } {
  const of = (what: MixedRow['what']) => {
    const row = rows.find((candidate) => candidate.model === model && candidate.what === what);
    if (row === undefined) throw new Error(`no row of ${model} ${what}`);
    return row;
  };
  const lanes = of('lanes');
  const ratio = (field: 'p50Ms' | 'p99Ms'): Ratios => ({
    heuristic: of('heuristic')[field] / lanes[field],
    ortDefault: of('ortDefault')[field] / lanes[field],
  });
  return { p99: ratio('p99Ms'), p50: ratio('p50Ms') };
}
