import { setTimeout as delay } from 'node:timers/promises';
import { identityModel } from '@warmlane/testing';
import { Redis } from 'ioredis';
import { type BenchDevice, benchDevice, deviceArgument } from './support/bench-device.js';
import { CpuWorkers } from './support/cpu-worker.js';
import { InferClient } from './support/infer-client.js';
import { Usage } from './support/process-times.js';
import { BenchFolder } from './support/repository.js';
import { percentile, type Row, round, writeResult } from './support/result.js';
import { System, startRedis } from './support/system.js';

// 200 shape classes on 1, 2 and 4 workers of one machine: what they answer together, what they cost while nothing is to be
// done, and whether under equal load any class waits longer than the others. With `--device cuda:0` the first has the GPU and
// the others the CPU of the same machine.

const CLASSES = 200;
const WORKERS = [1, 2, 4];
const IN_FLIGHT = 64;
const WARM_MS = 3_000;
const MEASURE_MS = 20_000;
const IDLE_MS = 15_000;
const READY_LIMIT_MS = 600_000;
const QUIET = { WARMLANE_LOG_LEVEL: 'warn' };
const DEVICE = deviceArgument();

interface Wait {
  at: number;
  ms: number;
}

/** `queue` and `gather` of a server-timing header: the time until the request ran. */
function waitMs(serverTiming: string): number {
  const part = (name: string): number => Number(new RegExp(`${name};dur=([\\d.]+)`).exec(serverTiming)?.[1] ?? 0);
  return part('queue') + part('gather');
}

async function commandsSoFar(redis: Redis): Promise<number> {
  return Number(/total_commands_processed:(\d+)/.exec(await redis.info('stats'))?.[1] ?? 0);
}

/** Of the processes below these: API, workers and their children. */
async function idleCost(
  roots: readonly number[],
  redis: Redis,
): Promise<{ cpuPercent: number; redisPerSecond: number }> {
  const usage = await Usage.start(roots);
  const commandsBefore = await commandsSoFar(redis);
  await delay(IDLE_MS);
  const [cores, commandsAfter] = [await usage.cores(), await commandsSoFar(redis)];
  return {
    cpuPercent: 100 * [...cores].reduce((sum, [title, used]) => sum + (title.startsWith('warmlane') ? used : 0), 0),
    redisPerSecond: ((commandsAfter - commandsBefore) * 1e3) / IDLE_MS,
  };
}

/** Every class gets as many requests as every other: they are sent in turn, so many at once. */
async function equalLoad(url: string): Promise<{ waits: Wait[]; perSecond: number; cold: number }> {
  const clients = Array.from({ length: CLASSES }, (_, at) => {
    const input = { name: 'x', datatype: 'FP32', shape: [at + 1], data: Buffer.alloc(4 * (at + 1), 1) };
    return new InferClient(url, { model: 'copy', version: '1', input, connections: 1 });
  });
  const from = performance.now() + WARM_MS;
  const until = from + MEASURE_MS;
  const waits: Wait[] = [];
  let next = 0;
  let cold = 0;
  const sender = async (): Promise<void> => {
    while (performance.now() < until) {
      const at = next % CLASSES;
      next += 1;
      const answer = await clients[at]?.send();
      const ended = performance.now();
      if (answer === undefined || ended < from || ended > until) continue;
      waits.push({ at, ms: waitMs(answer.serverTiming) });
      if (answer.lane === 'cold') cold += 1;
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, sender));
  await Promise.all(clients.map((client) => client.close()));
  return { waits, perSecond: (waits.length * 1e3) / MEASURE_MS, cold };
}

function worstOverMean(waits: readonly Wait[]): number {
  const mean = (some: readonly Wait[]): number => some.reduce((sum, { ms }) => sum + ms, 0) / some.length;
  return Math.max(...[...byClass(waits).values()].map(mean)) / mean(waits);
}

function byClass(waits: readonly Wait[]): Map<number, Wait[]> {
  const groups = new Map<number, Wait[]>();
  for (const wait of waits) {
    const known = groups.get(wait.at);
    if (known === undefined) groups.set(wait.at, [wait]);
    else known.push(wait);
  }
  return groups;
}

/** Waits until every worker holds its share of the lanes: one that joined later takes it from the others. */
async function untilShared(url: string, workers: number): Promise<void> {
  const until = performance.now() + READY_LIMIT_MS;
  for (;;) {
    const { lanes } = (await (await fetch(`${url}/v1/lanes?state=READY`)).json()) as { lanes: { worker: string }[] };
    const holders = new Set(lanes.map(({ worker }) => worker));
    if (lanes.length === CLASSES && holders.size === workers) return;
    if (performance.now() > until) throw new Error(`${lanes.length} lanes on ${holders.size} workers`);
    await delay(500);
  }
}

async function run(workers: number): Promise<{ row: Row & { worstClassWaitOverMean: number }; device: BenchDevice }> {
  await using server = await startRedis();
  await using folder = await BenchFolder.create();
  const shapes = Array.from({ length: CLASSES }, (_, at) => `"x:float32[${at + 1}]"`).join(', ');
  await folder.add('copy', identityModel('float32', ['N']), `shapes: [${shapes}]\n`);
  const begun = performance.now();
  await using system = await System.start({
    models: folder.models,
    redis: server.url,
    data: folder.data,
    device: DEVICE,
    workers: DEVICE === 'cpu' ? workers : 1,
    env: QUIET,
  });
  const more = DEVICE === 'cpu' ? 0 : workers - 1;
  await using beside = new CpuWorkers(
    Array.from({ length: more }, (_, at) => ({
      models: folder.models,
      redis: server.url,
      data: `${folder.root}/worker-${at}`,
      env: QUIET,
    })),
  );
  await system.untilReady(READY_LIMIT_MS);
  await untilShared(system.url, workers);
  const readySeconds = (performance.now() - begun) / 1e3;
  const redis = new Redis(server.url);
  // What follows a start, such as the choice of the fallback, is over.
  await delay(5_000);
  const idle = await idleCost([system.pid, ...beside.pids], redis);
  const { waits, perSecond, cold } = await equalLoad(system.url);
  redis.disconnect();
  const ms = waits.map((wait) => wait.ms);
  const row = {
    what: `${workers} worker${workers === 1 ? '' : 's'}, ${CLASSES} classes, ${IN_FLIGHT} in flight`,
    readySeconds: round(readySeconds, 1),
    perSecond: round(perSecond, 0),
    waitP50Ms: round(percentile(ms, 50), 2),
    waitP99Ms: round(percentile(ms, 99), 2),
    worstClassWaitOverMean: round(worstOverMean(waits), 2),
    cold,
    idleCpuPercent: round(idle.cpuPercent, 2),
    idleRedisCommandsPerSecond: round(idle.redisPerSecond, 0),
  };
  return { row, device: await benchDevice(system.url) };
}

const runs: Awaited<ReturnType<typeof run>>[] = [];
for (const workers of WORKERS) runs.push(await run(workers));
const rows = runs.map(({ row }) => row);
const device = runs[0]?.device ?? { name: 'cpu', versions: {} };
await writeResult(
  {
    name: 'scale',
    device: device.name,
    rows,
    figures: {
      scale: { worstClassWaitOverMean: Math.max(...rows.map((row) => row.worstClassWaitOverMean)) },
    },
  },
  device.versions,
);
