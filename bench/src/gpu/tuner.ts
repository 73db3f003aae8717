import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type ModelMetadata,
  type NamedTensor,
  type ProviderName,
  parseModelOptions,
  parseShapeKey,
  type TuningCandidate,
  type TuningDoc,
} from '@warmlane/contracts';
import { isRight, median, shuffled, toleranceOf } from '@warmlane/lanes';
import { type CudaRuntime, LaneSession, type OrtRuntime, PlainSession } from '@warmlane/ort';
import { createRedis, TuningStore } from '@warmlane/redis';
import { ROOT, type Row } from '../support/result.js';
import { startRedis } from '../support/system.js';
import { randomInputs, seeded, worstError } from './stage.js';

interface TunedModel {
  name: string;
  path: string;
  shapes: string[];
  /** Samples are random between these: see the models' own warmlane.yaml. */
  range: [number, number];
}

export interface TunerBench {
  provider: ProviderName;
  /** What WARMLANE_DEVICE takes. */
  device: string;
  libDir: string | null;
  models: TunedModel[];
  runtime: OrtRuntime;
  /** null on the CPU. */
  cuda: CudaRuntime | null;
}

export interface TunerFigures {
  rows: Row[];
  /** Largest latency of a chosen candidate over the best right one's, minus 1. */
  worstGap: number;
  /** Shapes whose chosen candidate has wrong numbers, or that have none. */
  wrongChosen: number;
  /** From the start of the worker to the last choice. */
  seconds: number;
}

const POLL_MS = 250;
const LIMIT_MS = 3_600_000;
const ROUNDS = 15;
const PART_MS = 60;
const MOST_RUNS = 20;
const SETTLE_MS = 5;
const SEED = 20_261_125;

/**
 * A worker tunes the models as it does for a user; then, with the worker gone, every right candidate of each shape is
 * measured against the others in one process of the bench's own, in turn.
 */
export async function measureTuner(bench: TunerBench): Promise<TunerFigures> {
  const scratch = await mkdtemp(join(tmpdir(), 'warmlane-tuner-'));
  try {
    const { docs, seconds } = await tune(bench, scratch);
    const rows: Row[] = [];
    for (const model of bench.models) {
      for (const shapeKey of model.shapes) {
        const doc = docs.find((one) => one.model === model.name && one.shapeKey === shapeKey);
        if (doc !== undefined) rows.push(...(await measureShape(bench, model, doc)));
      }
    }
    const chosen = rows.filter((row) => row.chosen === true);
    const wrong = docs.length - chosen.filter((row) => row.right === true).length;
    return { rows, worstGap: Math.max(...chosen.map((row) => Number(row.gap))), wrongChosen: wrong, seconds };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function tune(bench: TunerBench, scratch: string): Promise<{ docs: TuningDoc[]; seconds: number }> {
  for (const { name, path, shapes, range } of bench.models) {
    const folder = join(scratch, 'models', name, '1');
    await mkdir(folder, { recursive: true });
    await cp(path, join(folder, 'model.onnx'));
    const list = shapes.map((shape) => `"${shape}"`).join(', ');
    const yaml = `tune: true\nshapes: [${list}]\ninputs: { x: { random: [${range.join(', ')}] } }\n`;
    await writeFile(join(folder, 'warmlane.yaml'), yaml);
  }
  const server = await startRedis();
  const redis = createRedis(server.url, { name: 'bench' });
  const wanted = bench.models.reduce((sum, { shapes }) => sum + shapes.length, 0);
  const begun = performance.now();
  const worker = startWorker(bench, { redis: server.url, scratch });
  try {
    const store = new TuningStore(redis);
    for (;;) {
      const docs = (await store.list()).filter(({ state }) => state === 'done');
      if (docs.length === wanted) return { docs, seconds: (performance.now() - begun) / 1_000 };
      if (worker.exitCode !== null) throw new Error(`the worker ended with ${worker.exitCode}; see tuner-worker.log`);
      if (performance.now() - begun > LIMIT_MS) throw new Error(`${docs.length} of ${wanted} shapes after an hour`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  } finally {
    if (worker.exitCode === null) {
      worker.kill('SIGTERM');
      await once(worker, 'exit');
    }
    redis.disconnect();
    await server.stop();
  }
}

/** Its log goes to `tuner-worker.log` in the working directory. */
function startWorker({ device, libDir }: TunerBench, at: { redis: string; scratch: string }): ChildProcess {
  const worker = spawn(process.execPath, [join(ROOT, 'apps/worker/dist/main.js')], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      ...process.env,
      WARMLANE_REDIS: at.redis,
      WARMLANE_MODELS: join(at.scratch, 'models'),
      WARMLANE_DATA: join(at.scratch, 'data'),
      WARMLANE_DEVICE: device,
      ...(libDir === null ? {} : { ORT_LIB_DIR: libDir }),
    },
  });
  worker.stderr?.pipe(createWriteStream('tuner-worker.log'));
  return worker;
}

interface Measured {
  candidate: TuningCandidate;
  lane: LaneSession;
  roundsMs: number[];
}

async function measureShape(bench: TunerBench, model: TunedModel, doc: TuningDoc): Promise<Row[]> {
  const { shapeKey } = doc;
  const inputs = randomInputs(shapeKey, 11, model.range);
  const reference = await referenceOf(bench, model.path, inputs);
  const lanes: Measured[] = [];
  const random = seeded(SEED);
  try {
    for (const candidate of doc.candidates) {
      if (!isRight(candidate) && candidate.outcome !== 'over-memory') continue;
      const lane = await openLane(bench, model.path, shapeKey, candidate);
      await lane.first(inputs);
      lane.capture();
      lanes.push({ candidate, lane, roundsMs: [] });
    }
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const measured of shuffled(lanes, random)) {
        // Threads of the session that ran before spin on for a while.
        await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
        measured.roundsMs.push(median(runPart(measured, inputs)));
      }
    }
    const best = Math.min(...lanes.map(({ roundsMs }) => median(roundsMs)));
    return lanes.map(({ candidate, lane, roundsMs }) => {
      lane.poisonOutputs();
      const error = worstError(reference.metadata, lane.run(inputs).outputs, reference.outputs);
      const tf32 = bench.provider === 'cuda' && candidate.options.use_tf32 !== false;
      const tolerance = toleranceOf('float32', ['float32'], {}, { provider: bench.provider, tf32 });
      const p50Ms = median(roundsMs);
      return {
        ...{ part: 'tuner', model: model.name, shapeKey, candidate: candidate.name },
        chosen: candidate.name === doc.chosen,
        right: error <= tolerance,
        p50Ms,
        gap: p50Ms / best - 1,
        error,
      };
    });
  } finally {
    for (const { lane } of lanes) lane.close();
  }
}

/** Many runs of a fast lane, few of a slow one. */
function runPart({ candidate, lane }: Measured, inputs: NamedTensor[]): number[] {
  const runs = Math.max(1, Math.min(MOST_RUNS, Math.floor(PART_MS / (candidate.p50Ms ?? PART_MS))));
  lane.run(inputs);
  return Array.from({ length: runs }, () => {
    const start = performance.now();
    lane.run(inputs);
    return performance.now() - start;
  });
}

function openLane(
  { provider, runtime, cuda }: TunerBench,
  path: string,
  shapeKey: string,
  { options }: TuningCandidate,
): Promise<LaneSession> {
  return LaneSession.create(runtime, {
    model: { path },
    provider,
    fallback: 'allow',
    options: parseModelOptions(provider, options),
    inputs: parseShapeKey(shapeKey),
    ...(cuda === null ? {} : { cuda }),
  });
}

async function referenceOf(
  { runtime }: TunerBench,
  path: string,
  inputs: NamedTensor[],
): Promise<{ metadata: ModelMetadata; outputs: NamedTensor[] }> {
  const session = await PlainSession.create(runtime, { model: { path }, provider: 'cpu' });
  try {
    return { metadata: session.metadata, outputs: (await session.runAsync(inputs)).outputs };
  } finally {
    session.close();
  }
}
