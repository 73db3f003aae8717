import { availableParallelism } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { benchDevice } from './support/bench-device.js';
import { ChildPool } from './support/child-pool.js';
import { summarize } from './support/load.js';
import { MoreApis } from './support/more-apis.js';
import { type OpenRun, openRow, together } from './support/open-loop.js';
import { cpuSeconds, Usage } from './support/process-times.js';
import { CHECKSUM, lineOf, recModel, shapeKeyOf } from './support/rec-model.js';
import { BenchFolder } from './support/repository.js';
import { median, percentile, type Row, round, writeResult } from './support/result.js';
import type { HttpResult, HttpTask } from './support/serve-http-client.js';
import type { ProducerResult, ProducerTask } from './support/serve-producer.js';
import { System, startRedis } from './support/system.js';

/**
 * `./warmlane bench serve [--device cpu] [--seconds 6] [--rounds 3] [--widths 160,320] [--sizes 1,2,4,8] [--apis 1]`: one model three
 * times, with batch lanes, with lanes of batch 1 and without lanes, under the same load turn by turn. At the worker (queue
 * in, checksum out) for lines of the first width, and over HTTP with whole answers and mixed widths at several rates, for each
 * number of API processes.
 */
const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cpu' },
    seconds: { type: 'string', default: '6' },
    rounds: { type: 'string', default: '3' },
    widths: { type: 'string', default: '160,320' },
    sizes: { type: 'string', default: '1,2,4,8' },
    // Where there are cores for them beside Redis, worker, runtime and clients.
    apis: { type: 'string', default: availableParallelism() >= 16 ? '1,4' : '1' },
  },
});
const MEASURE_MS = Number(values.seconds) * 1_000;
const WARM_MS = 1_500;
const ROUNDS = Number(values.rounds);
const WIDTHS = values.widths.split(',').map(Number);
const SIZES = values.sizes.split(',').map(Number);
const APIS = values.apis.split(',').map(Number);
const LANES = { rec: 'batches', 'rec-1': 'batch 1', 'rec-cold': 'none' } as const;
type Model = keyof typeof LANES;
const MODELS: Model[] = ['rec', 'rec-1', 'rec-cold'];
/** Shares of what the batch lanes do at most over HTTP. */
const RATES = [0.3, 0.5, 0.7, 0.9, 1.2];
const DEADLINE_MS = 2_000;
const READY_MS = 600_000;
/** Titles of processes. */
const API = 'warmlane api';
const WORKER = 'warmlane worker';
const RUNTIME = 'warmlane runtime';
const REDIS = 'redis-server';
/** So many requests wait that every batch is full. */
const IN_FLIGHT = 8 * Math.max(...SIZES);
/** At the worker: twice as many show whether the first was saturated. */
const IN_FLIGHTS = [IN_FLIGHT, 2 * IN_FLIGHT];

interface SaturatedRun {
  perSecond: number;
  cores: ReadonlyMap<string, number>;
  itemsPerRun: number;
}

/** What the processes whose titles begin so used together: Redis has its address in its. */
function used(cores: ReadonlyMap<string, number>, title: string): number {
  return [...cores].reduce((sum, [name, value]) => (name.startsWith(title) ? sum + value : sum), 0);
}

interface BatchStats {
  batch_size: number;
  compute_infer: { count: number };
}

/** What the lanes of a model ran so far, by the protocol's statistics. */
async function itemsAndRuns(url: string, model: Model): Promise<{ items: number; runs: number }> {
  // They are written once a second.
  await delay(1_500);
  const answer = await fetch(`${url}/v2/models/${model}/versions/1/stats`);
  const { model_stats: all } = (await answer.json()) as { model_stats: { batch_stats: BatchStats[] }[] };
  const batches = all.flatMap(({ batch_stats }) => batch_stats);
  return {
    items: batches.reduce((sum, batch) => sum + batch.batch_size * batch.compute_infer.count, 0),
    runs: batches.reduce((sum, batch) => sum + batch.compute_infer.count, 0),
  };
}

async function checksumOf(url: string, model: Model, width: number): Promise<number> {
  const { dims, data } = lineOf(width);
  const input = { name: 'x', datatype: 'FP32', shape: dims, parameters: { binary_data_size: data.byteLength } };
  const head = Buffer.from(JSON.stringify({ inputs: [input], outputs: [{ name: CHECKSUM }] }));
  const answer = await fetch(`${url}/v2/models/${model}/infer`, {
    method: 'POST',
    headers: { 'inference-header-content-length': String(head.byteLength), 'content-type': 'application/octet-stream' },
    body: Buffer.concat([head, data]),
  });
  const body = (await answer.json()) as { outputs: { data: number[] }[] };
  const sum = body.outputs[0]?.data[0];
  if (sum === undefined) throw new Error(`${model} gave no checksum`);
  return sum;
}

const bytes = await recModel();
await using server = await startRedis();
await using folder = await BenchFolder.create();
const shapes = `shapes: ${JSON.stringify(WIDTHS.map(shapeKeyOf))}\n`;
await folder.add('rec', bytes, `${shapes}batch: { sizes: [${SIZES.join(', ')}] }\n`);
await folder.add('rec-1', bytes, shapes);
await folder.add('rec-cold', bytes, '');
await using system = await System.start({
  models: folder.models,
  redis: server.url,
  data: folder.data,
  device: values.device,
});
await system.untilReady(READY_MS);
const device = await benchDevice(system.url);
const [WIDTH = 160] = WIDTHS;
const checksum = await checksumOf(system.url, 'rec-cold', WIDTH);
const rows: Row[] = [];

// ---- at the worker ----------------------------------------------------------------------------------------------------

await using producers = await ChildPool.start<ProducerTask, ProducerResult>('serve-producer.js', [server.url]);
const task = { width: WIDTH, checksum, warmMs: WARM_MS, measureMs: MEASURE_MS };
const saturated = new Map<string, SaturatedRun[]>();
const keyOf = (model: Model, inFlight: number): string => `${model} ${inFlight}`;
/** A model without lanes is saturated with few. */
const inFlightsOf = (model: Model): number[] => (model === 'rec-cold' ? [8] : IN_FLIGHTS);
for (let turn = 0; turn < ROUNDS; turn += 1) {
  for (const model of MODELS) {
    for (const inFlight of inFlightsOf(model)) {
      const before = await itemsAndRuns(system.url, model);
      const usage = await Usage.start([system.pid, server.pid]);
      const share = Math.max(1, Math.round(inFlight / producers.count));
      const results = await producers.run(() => ({ ...task, kind: 'closed', model, inFlight: share }));
      const cores = await usage.cores();
      const after = await itemsAndRuns(system.url, model);
      saturated.set(keyOf(model, inFlight), [
        ...(saturated.get(keyOf(model, inFlight)) ?? []),
        {
          perSecond: results.reduce((all, result) => all + (result.kind === 'closed' ? result.run.perSecond : 0), 0),
          cores,
          itemsPerRun: (after.items - before.items) / (after.runs - before.runs),
        },
      ]);
    }
  }
}
const perSecondOf = (model: Model, inFlight: number): number =>
  median((saturated.get(keyOf(model, inFlight)) ?? []).map(({ perSecond }) => perSecond));
const saturation = (model: Model): number =>
  Math.max(...inFlightsOf(model).map((inFlight) => perSecondOf(model, inFlight)));
for (const model of MODELS) {
  for (const inFlight of inFlightsOf(model)) {
    const runs = saturated.get(keyOf(model, inFlight)) ?? [];
    const coresOf = (title: string): number => round(median(runs.map(({ cores }) => used(cores, title))));
    rows.push({
      what: `at the worker: saturated, width ${WIDTH}`,
      lanes: LANES[model],
      inFlight,
      runs: ROUNDS,
      perSecond: round(perSecondOf(model, inFlight), 1),
      itemsPerRun: round(median(runs.map(({ itemsPerRun }) => itemsPerRun))),
      // Each has one thread through which every request goes: near 1 it is what bounds the rest.
      workerCores: coresOf(WORKER),
      runtimeCores: coresOf(RUNTIME),
      redisCores: coresOf(REDIS),
    });
  }
}
const at70: OpenRun[] = [];
for (let turn = 0; turn < ROUNDS; turn += 1) {
  const perSecond = (0.7 * saturation('rec')) / producers.count;
  const seed = turn * 16;
  const results = await producers.run((at) => ({
    ...task,
    kind: 'open',
    model: 'rec',
    perSecond,
    seed: seed + at + 1,
  }));
  at70.push(together(results.flatMap((result) => (result.kind === 'open' ? [result.run] : []))));
}
for (const run of at70) rows.push(openRow(`at the worker: 70 %, width ${WIDTH}`, LANES.rec, run));
const p99OverP50 = at70.map(({ outcomes }) => {
  const ms = outcomes.map((outcome) => outcome.ms);
  return percentile(ms, 99) / percentile(ms, 50);
});

// ---- over HTTP --------------------------------------------------------------------------------------------------------

for (const apiProcesses of APIS) {
  await using more = await MoreApis.start(apiProcesses - 1, server.url);
  const urls = [system.url, ...more.urls].join(',');
  await using clients = await ChildPool.start<HttpTask, HttpResult>('serve-http-client.js', [
    urls,
    WIDTHS.join(','),
    String(DEADLINE_MS),
  ]);
  const load = { warmMs: WARM_MS, measureMs: MEASURE_MS };
  const inFlight = Math.ceil((IN_FLIGHT * apiProcesses) / clients.count);
  let most = 0;
  for (const model of ['rec', 'rec-1'] as const) {
    const results = await clients.run(() => ({ ...load, kind: 'closed', model, inFlight }));
    const closed = results.flatMap((result) => (result.kind === 'closed' ? [result] : []));
    const run = {
      inFlight: inFlight * clients.count,
      latencies: closed.flatMap((result) => result.run.latencies),
      perSecond: closed.reduce((sum, result) => sum + result.run.perSecond, 0),
    };
    if (model === 'rec') most = run.perSecond;
    rows.push({
      ...summarize(`over HTTP: saturated, widths ${WIDTHS.join(' and ')}`, [run]),
      lanes: LANES[model],
      gbPerSecond: round((closed.reduce((sum, { bytes }) => sum + bytes, 0) / MEASURE_MS) * 1e-6, 4),
      apiProcesses,
    });
  }
  for (const [turn, rate] of RATES.entries()) {
    // Each goes first in its turn: what one leaves behind is not always the next one's.
    for (const model of [...MODELS.slice(turn % MODELS.length), ...MODELS.slice(0, turn % MODELS.length)]) {
      const before = await cpuSeconds(system.pid);
      const begun = performance.now();
      const results = await clients.run((at) => ({
        ...load,
        kind: 'open',
        model,
        perSecond: (rate * most) / clients.count,
        seed: 7 + at,
      }));
      const seconds = (performance.now() - begun) / 1_000;
      const run = together(results.flatMap((result) => (result.kind === 'open' ? [result.run] : [])));
      const after = await cpuSeconds(system.pid);
      rows.push({
        ...openRow(`over HTTP: ${rate * 100} %`, LANES[model], run),
        apiProcesses,
        // Of the API that `serve` started, of all its requests, those to warm up among them.
        apiCores: round(((after.get(API) ?? 0) - (before.get(API) ?? 0)) / seconds),
      });
    }
  }
}

await writeResult(
  {
    name: 'serve',
    device: device.name,
    rows,
    figures: {
      serve: {
        saturationRatio: round(saturation('rec') / saturation('rec-1')),
        p99OverP50At70: round(median(p99OverP50)),
      },
    },
  },
  device.versions,
);
