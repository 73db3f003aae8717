import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ModelMetadata, type NamedTensor, parseShapeKey } from '@warmlane/contracts';
import { toleranceOf } from '@warmlane/lanes';
import { OrtRuntime } from '@warmlane/ort';
import { BenchFolder } from '../support/repository.js';
import { percentile, type Row, round } from '../support/result.js';
import { System, startRedis } from '../support/system.js';
import { type BinaryAnswer, BinaryClient } from './binary-client.js';
import type { PartOptions } from './part-options.js';
import { note } from './progress.js';
import { cpuReference, type ModelName, modelPath, randomInputs, SHAPES, seeded, worstError } from './stage.js';
import { WorkerLog } from './worker-log.js';

/** Values of inputs: text detection finds none in less. */
const RANGES: Record<ModelName, [number, number]> = { rec: [-1, 1], det: [-40, 40] };
const MODELS: ModelName[] = ['rec', 'det'];
const OPTIONS = 'options: { cudnn_conv_algo_search: HEURISTIC }\n';
const READY_MS = 600_000;
/** Every so many of a way's answers one is compared with the reference, besides each shape's first. */
const CHECK_EVERY = 50;
const NOTE_EVERY = 500;
const ORDER_SEED = 20_261_124;

interface Shape {
  model: ModelName;
  shapeKey: string;
  inputs: NamedTensor[];
}

interface Sample extends Omit<BinaryAnswer, 'outputs'> {
  model: ModelName;
}

interface Way {
  what: 'lanes' | 'plain';
  /** How the model is called there. */
  nameOf: (model: ModelName) => string;
  requests: number;
  /** What `warmlane-lane` must be for each answer. */
  served: string;
}

interface Reference {
  metadata: ModelMetadata;
  outputs: Map<string, NamedTensor[]>;
}

export interface EndToEnd {
  rows: Row[];
  figures: Record<string, unknown>;
}

/**
 * Random traffic over all shapes of both models, one request after the other, over HTTP and the queue through
 * `warmlane serve`: once to models with a lane for each shape, once to the same models without lanes, which the worker
 * serves with a plain session on its device (`WARMLANE_COLD=device`; its log says that it did). Each shape was sent once
 * before the clock starts, to both. Answers that are compared with the CPU's must be right: the part fails otherwise.
 */
export async function measureEndToEnd(options: PartOptions, scratch: string): Promise<EndToEnd> {
  const shapes = shapesOf(options);
  const runtime = OrtRuntime.load(options.libDir === null ? {} : { libDir: options.libDir });
  const references = new Map<ModelName, Reference>();
  for (const model of MODELS) {
    const own = shapes
      .filter((shape) => shape.model === model)
      .map(({ shapeKey, inputs }) => [shapeKey, inputs] as const);
    references.set(model, await cpuReference({ runtime }, modelPath(options, model), new Map(own)));
  }
  note(`endToEnd: ${shapes.length} shapes, references are there`);

  await using server = await startRedis();
  await using folder = await BenchFolder.create();
  for (const model of MODELS) {
    const bytes = await readFile(modelPath(options, model));
    const inputs = `inputs: { x: { random: [${RANGES[model].join(', ')}] } }\n`;
    const keys = shapes.filter((shape) => shape.model === model).map(({ shapeKey }) => shapeKey);
    await folder.add(model, bytes, `${OPTIONS}${inputs}shapes: ${JSON.stringify(keys)}\n`);
    await folder.add(`${model}-plain`, bytes, `${OPTIONS}${inputs}`);
  }
  const log = join(scratch, 'end-to-end.log');
  const env = { WARMLANE_COLD: 'device', WARMLANE_LOG_LEVEL: 'info' };
  await using system = await System.start({
    ...{ models: folder.models, redis: server.url, data: folder.data, device: options.device, env, log },
  });
  await system.untilReady(READY_MS);
  note('endToEnd: lanes are READY');
  const client = new BinaryClient(system.url);
  for (const { model, shapeKey, inputs } of shapes) client.prepare(`${model} ${shapeKey}`, inputs);
  const ways: Way[] = [
    { what: 'lanes', nameOf: (model) => model, requests: options.requests, served: 'ready' },
    { what: 'plain', nameOf: (model) => `${model}-plain`, requests: options.plainRequests, served: 'cold' },
  ];
  const rows: Row[] = [];
  const all = new Map<Way['what'], Sample[]>();
  try {
    for (const way of ways) {
      const { samples, checked, worst } = await drive(client, way, { shapes, references, options });
      all.set(way.what, samples);
      const servers = (await WorkerLog.read(log)).coldServers();
      for (const model of [...MODELS, null]) {
        const of = model === null ? samples : samples.filter((sample) => sample.model === model);
        const servedBy = way.what === 'lanes' ? 'lanes' : serversOf(way, model, servers, options);
        rows.push({ ...rowOf(way, model ?? 'all', of), servedBy, checked, wrong: 0, worstErrorOverTolerance: worst });
      }
      note(`endToEnd: ${way.what} done, ${samples.length} requests, ${checked} compared`);
    }
  } finally {
    await client.close();
  }
  const figure = (model: ModelName | null) => {
    const ms = (what: Way['what']) =>
      (all.get(what) ?? []).filter((sample) => model === null || sample.model === model).map((sample) => sample.ms);
    const p99Ms = percentile(ms('lanes'), 99);
    return { p50Ms: percentile(ms('lanes'), 50), p99Ms, p99RatioToPlain: percentile(ms('plain'), 99) / p99Ms };
  };
  return { rows, figures: { ...figure(null), rec: figure('rec'), det: figure('det') } };
}

function shapesOf(options: PartOptions): Shape[] {
  return MODELS.flatMap((model) =>
    SHAPES[model].flatMap((shapeKey, at) => {
      const bytes = parseShapeKey(shapeKey).reduce((sum, { dims }) => sum + 4 * dims.reduce((a, b) => a * b, 1), 0);
      if (bytes > options.largestBytes) return [];
      return [{ model, shapeKey, inputs: randomInputs(shapeKey, 100 + at, RANGES[model]) }];
    }),
  );
}

/** Sends each shape once, then the clocked requests in seeded random order. Throws for the first wrong answer. */
async function drive(
  client: BinaryClient,
  way: Way,
  { shapes, references, options }: { shapes: Shape[]; references: Map<ModelName, Reference>; options: PartOptions },
): Promise<{ samples: Sample[]; checked: number; worst: number }> {
  let checked = 0;
  let worst = 0;
  const check = ({ model, shapeKey }: Shape, answer: BinaryAnswer): void => {
    const reference = references.get(model);
    if (reference === undefined) throw new Error(`no reference of ${model}`);
    const precision = { provider: options.provider, tf32: options.provider === 'cuda' };
    const tolerance = toleranceOf('float32', ['float32'], {}, precision);
    const error = worstError(reference.metadata, answer.outputs(), reference.outputs.get(shapeKey) ?? []);
    checked += 1;
    worst = Math.max(worst, error / tolerance);
    // Written so that NaN is wrong.
    if (!(error <= tolerance))
      throw new Error(`${way.what}: ${model} ${shapeKey} is off by ${error}, allowed ${tolerance}`);
  };
  const send = async (shape: Shape): Promise<BinaryAnswer> => {
    const answer = await client.send(way.nameOf(shape.model), `${shape.model} ${shape.shapeKey}`);
    if (answer.served !== way.served) {
      throw new Error(`${way.what}: ${shape.shapeKey} was served '${answer.served}', not '${way.served}'`);
    }
    return answer;
  };
  for (const shape of shapes) check(shape, await send(shape));
  const random = seeded(ORDER_SEED);
  const samples: Sample[] = [];
  for (let n = 0; n < way.requests; n += 1) {
    const shape = shapes[Math.floor(random() * shapes.length)];
    if (shape === undefined) throw new Error('no shapes: raise --largest-mb');
    const answer = await send(shape);
    if (n % CHECK_EVERY === 0) check(shape, answer);
    if (n % NOTE_EVERY === 0) note(`endToEnd: ${way.what}, ${n} of ${way.requests}`);
    const { ms, served, stages, bytes } = answer;
    samples.push({ model: shape.model, ms, served, stages, bytes });
  }
  return { samples, checked, worst: round(worst, 4) };
}

/**
 * Throws where the worker's log does not say that the device served. The worker keeps one choice, and one session, for
 * equal bytes: it is logged under the name that was asked for first. Both names have the same options.
 */
function serversOf(
  way: Way,
  model: ModelName | null,
  servers: Map<string, 'cpu' | 'cuda'>,
  { provider }: PartOptions,
): string {
  for (const one of model === null ? MODELS : [model]) {
    const server = servers.get(way.nameOf(one)) ?? servers.get(one);
    if (server !== provider) throw new Error(`${way.nameOf(one)} was served by ${server ?? 'an unknown session'}`);
  }
  return `plain ${provider} session`;
}

function rowOf(way: Way, model: string, samples: readonly Sample[]): Row {
  const ms = samples.map((sample) => sample.ms);
  const names = [...(samples[0]?.stages.keys() ?? [])];
  const stages = names.flatMap((name) => {
    const values = samples.map((sample) => sample.stages.get(name) ?? 0);
    return [
      [`${name}P50Ms`, round(percentile(values, 50), 3)],
      [`${name}P99Ms`, round(percentile(values, 99), 3)],
    ] as const;
  });
  return {
    part: 'endToEnd',
    what: way.what,
    model,
    requests: samples.length,
    p50Ms: round(percentile(ms, 50), 3),
    p99Ms: round(percentile(ms, 99), 3),
    maxMs: round(Math.max(...ms), 3),
    [way.served]: samples.length,
    ...Object.fromEntries(stages),
    bytes: samples.reduce((sum, sample) => sum + sample.bytes, 0),
  };
}
