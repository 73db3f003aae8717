import { identityModel } from '@warmlane/testing';
import { Redis } from 'ioredis';
import { bareJob } from './support/bare-job.js';
import { InferClient } from './support/infer-client.js';
import { closedLoop, type LoadRun, summarize } from './support/load.js';
import { BenchFolder } from './support/repository.js';
import { median, percentile, type Row, round, writeResult } from './support/result.js';
import { System, startRedis } from './support/system.js';

// HTTP in, queue, runtime, HTTP out on a model that copies 16 floats, against a BullMQ job that does nothing (add,
// process, answer) on the same Redis, turn by turn in the same run. Both answer across a process boundary.

const IN_FLIGHT = [1, 16, 64];
const ROUNDS = 5;
const WARM_MS = 1_000;
const MEASURE_MS = 4_000;

await using server = await startRedis();
await using folder = await BenchFolder.create();
await folder.add('copy', identityModel('float32', ['N']), 'shapes: ["x:float32[16]"]\n');
await using system = await System.start({ models: folder.models, redis: server.url, data: folder.data });
await system.untilReady(60_000);
const input = { name: 'x', datatype: 'FP32', shape: [16], data: Buffer.alloc(64, 1) };
const client = new InferClient(system.url, { model: 'copy', version: '1', input, connections: Math.max(...IN_FLIGHT) });
const served = await client.send();
if (served.lane !== 'ready' || !served.body.subarray(-64).equals(input.data)) {
  throw new Error(`the lane does not serve as it should: ${served.lane}`);
}
const bare = await bareJob(server.url, Math.max(...IN_FLIGHT));
const ways = {
  'bare BullMQ no-op': () => bare.send(),
  'HTTP, queue, runtime, HTTP': async () => {
    await client.send();
  },
};
const runs = new Map<string, LoadRun[]>();
for (let turn = 0; turn < ROUNDS; turn += 1) {
  for (const inFlight of IN_FLIGHT) {
    for (const [what, send] of Object.entries(ways)) {
      const key = `${what}|${inFlight}`;
      runs.set(key, [...(runs.get(key) ?? []), await closedLoop(inFlight, WARM_MS, MEASURE_MS, send)]);
    }
  }
}

// Where the time of one request goes: what the server says of itself, and the bare trips of its two kinds.
const TRIPS = 1_000;
const parts = new Map<string, number[]>();
const note = (part: string, ms: number) => parts.set(part, [...(parts.get(part) ?? []), ms]);
const redis = new Redis(server.url);
for (let trip = 0; trip < TRIPS; trip += 1) {
  const begun = performance.now();
  const { serverTiming } = await client.send();
  const tookMs = performance.now() - begun;
  const times = new Map(
    [...serverTiming.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, part, ms]) => [part ?? '', Number(ms)]),
  );
  const of = (part: string): number => times.get(part) ?? 0;
  note('added to the queue until the worker has it', of('queue'));
  note('in the worker until it runs, and its run', of('gather') + of('copy') + of('compute'));
  note(
    'to the runtime and back, answer written and read',
    of('total') - of('queue') - of('gather') - of('copy') - of('compute'),
  );
  note('HTTP: client, socket, parsing, routing, writing', tookMs - of('total'));
  const pinged = performance.now();
  await redis.ping();
  note('a bare trip to Redis', performance.now() - pinged);
}
redis.disconnect();
await client.close();
await bare.close();

const of = (what: keyof typeof ways, inFlight: number): LoadRun[] => runs.get(`${what}|${inFlight}`) ?? [];
const p50 = (what: keyof typeof ways, inFlight: number): number =>
  median(of(what, inFlight).map((run) => percentile(run.latencies, 50)));
const rate = (what: keyof typeof ways, inFlight: number): number =>
  median(of(what, inFlight).map((run) => run.perSecond));
await writeResult({
  name: 'queue',
  device: 'cpu',
  rows: [
    ...[...runs].map(([key, some]) => summarize(key.split('|')[0] ?? '', some)),
    ...[...parts].map(([part, ms]): Row => ({ what: part, inFlight: 1, p50Ms: round(median(ms), 3) })),
  ],
  figures: {
    queue: {
      addedP50Ms1: round(p50('HTTP, queue, runtime, HTTP', 1) - p50('bare BullMQ no-op', 1), 3),
      jobsRatio64: round(rate('HTTP, queue, runtime, HTTP', 64) / rate('bare BullMQ no-op', 64), 3),
    },
  },
});
