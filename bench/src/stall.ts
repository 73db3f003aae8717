import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { classQueueName, PREFIX } from '@warmlane/redis';
import { addSubModel, bytesOf, loopModel } from '@warmlane/testing';
import { QueueEvents } from 'bullmq';
import { InferClient } from './support/infer-client.js';
import type { ProbeSample } from './support/loop-probe.js';
import { BenchFolder } from './support/repository.js';
import { median, percentile, type Row, round, writeResult } from './support/result.js';
import { System, startRedis } from './support/system.js';

// One native call of 30 s in the runtime. Meanwhile the event loops of the worker and the API must stay free, the job's
// lock must be renewed, and requests that do not need the runtime be answered.

/** Aimed at well over 30 s: the first trips take longer than those of a long call. */
const CALL_MS = 42_000;
const RUNS = 3;
const TRIAL_TRIPS = 2_000;
const ADD_KEY = 'INPUT0:int32[1,16];INPUT1:int32[1,16]';

interface StallRun {
  callMs: number;
  workerMaxMs: number;
  apiMaxMs: number;
  stalledJobs: number;
  coldP50Ms: number;
  coldMaxMs: number;
}

function loopClient(url: string, trips: number): InferClient {
  const data = Buffer.from(bytesOf(BigInt64Array.of(BigInt(trips))));
  const headers = { 'warmlane-deadline-ms': '300000' };
  const input = { name: 'trips', datatype: 'INT64', shape: [], data };
  return new InferClient(url, { model: 'loop', version: '1', input, connections: 1, headers });
}

async function timeTrips(url: string, trips: number): Promise<number> {
  const client = loopClient(url, trips);
  const begun = performance.now();
  const { lane } = await client.send();
  await client.close();
  if (lane !== 'ready') throw new Error(`the loop was served ${lane}, not by its lane`);
  return performance.now() - begun;
}

/** Requests of a shape without a lane: the fallback serves them, whatever the runtime is at. */
async function coldRequests(url: string, until: () => boolean): Promise<number[]> {
  const data = Buffer.alloc(3 * 16 * 4, 1);
  const head = ['INPUT0', 'INPUT1'].map((name) => ({
    name,
    datatype: 'INT32',
    shape: [3, 16],
    parameters: { binary_data_size: data.byteLength },
  }));
  const json = Buffer.from(JSON.stringify({ inputs: head, parameters: { binary_data_output: true } }));
  const took: number[] = [];
  while (!until()) {
    const begun = performance.now();
    const answer = await fetch(`${url}/v2/models/add/versions/1/infer`, {
      method: 'POST',
      headers: {
        'content-type': 'application/octet-stream',
        'inference-header-content-length': String(json.byteLength),
      },
      body: Buffer.concat([json, data, data]),
    });
    await answer.arrayBuffer();
    if (answer.status !== 200) throw new Error(`a cold request got ${answer.status}`);
    took.push(performance.now() - begun);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return took;
}

async function samplesBetween(folder: string, from: number, to: number): Promise<ProbeSample[]> {
  const files = await readdir(folder);
  const texts = await Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')));
  return texts
    .flatMap((text) => text.split('\n').filter((line) => line.endsWith('}')))
    .map((line) => JSON.parse(line) as ProbeSample)
    .filter(({ at }) => at >= from && at <= to);
}

async function run(): Promise<StallRun> {
  await using server = await startRedis();
  await using folder = await BenchFolder.create();
  await folder.add('loop', loopModel(), 'shapes: ["trips:int64[]"]\ninputs: { trips: { values: [2] } }\n');
  await folder.add('add', addSubModel(), `shapes: ["${ADD_KEY}"]\n`);
  const probes = join(folder.root, 'probes');
  await mkdir(probes);
  const probe = new URL('./support/loop-probe.js', import.meta.url);
  await using system = await System.start({
    models: folder.models,
    redis: server.url,
    data: folder.data,
    env: { NODE_OPTIONS: `--import ${probe}`, WARMLANE_PROBE_DIR: probes, WARMLANE_RUN_LIMIT_MS: '240000' },
  });
  await system.untilReady(120_000);
  const perTrip = (await timeTrips(system.url, TRIAL_TRIPS)) / TRIAL_TRIPS;
  const events = new QueueEvents(classQueueName('loop', '1', 'trips:int64[]'), {
    connection: { url: server.url },
    prefix: PREFIX,
  });
  let stalledJobs = 0;
  events.on('stalled', () => {
    stalledJobs += 1;
  });
  await events.waitUntilReady();
  let done = false;
  const from = Date.now();
  const cold = coldRequests(system.url, () => done);
  const callMs = await timeTrips(system.url, Math.ceil(CALL_MS / perTrip));
  done = true;
  const to = Date.now();
  const took = await cold;
  await events.close();
  const samples = await samplesBetween(probes, from, to);
  const max = (title: string): number =>
    Math.max(...samples.filter((sample) => sample.title === title).map(({ maxMs }) => maxMs));
  return {
    callMs,
    workerMaxMs: max('warmlane worker'),
    apiMaxMs: max('warmlane api'),
    stalledJobs,
    coldP50Ms: percentile(took, 50),
    coldMaxMs: Math.max(...took),
  };
}

const runs: StallRun[] = [];
for (let at = 0; at < RUNS; at += 1) runs.push(await run());
const over = (value: (one: StallRun) => number): number => round(median(runs.map(value)), 1);
await writeResult({
  name: 'stall',
  device: 'cpu',
  rows: runs.map(
    (one, at): Row => ({
      what: `run ${at + 1}`,
      ...Object.fromEntries(Object.entries(one).map(([key, value]) => [key, round(value, 1)])),
    }),
  ),
  figures: {
    stall: {
      workerMaxMs: over((one) => one.workerMaxMs),
      apiMaxMs: over((one) => one.apiMaxMs),
      stalledJobs: runs.reduce((sum, one) => sum + one.stalledJobs, 0),
    },
  },
});
