import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { deviceCredit } from '@warmlane/lanes';
import { Producer } from '@warmlane/queues';
import { classQueueName, createRedis } from '@warmlane/redis';
import type { Redis } from 'ioredis';
import {
  type CalibratedLoad,
  type CalibratedSettings,
  MODEL,
  registerCalibrated,
  shapeOf,
  VERSION,
} from './support/calibrated-model.js';
import { median, percentile, type Row, round, writeResult } from './support/result.js';
import { startRedis } from './support/system.js';

// One worker whose lanes cost 5 ms and whose fallback costs 150 ms; Redis, BullMQ, producer, scheduler, credit and answers
// are the real ones. Two questions: when are requests fast again after a burst of 3 s of work at 70 % load, and how many
// jobs are active at one worker while 10,000 of them wait in 100 classes.

const LANE_MS = 5;
const FALLBACK_MS = 150;
const LOAD = 0.7;
const BURST_WORK_MS = 3_000;
const CLASSES = 10;
/** Long enough for the processes' code to be compiled and their first backlog to be gone ... */
const QUIET_MS = 20_000;
/** ... of which the last part is what the burst is compared with. */
const BASELINE_MS = 6_000;
const AFTER_MS = 16_000;
const WINDOW_MS = 500;
/** A window is as before the burst where its p95 is within this factor of it. */
const RECOVERED = 3;
const RUNS = 3;

interface Sample {
  /** Since the burst, ms. */
  sentAt: number;
  ms: number;
  burst: boolean;
  burstClass: boolean;
  lane: string;
}

async function withWorker<T>(
  settings: CalibratedSettings,
  use: (producer: Producer, redis: Redis, worker: ChildProcess) => Promise<T>,
): Promise<T> {
  await using server = await startRedis();
  const redis = createRedis(server.url, { name: 'bench' });
  const blobRedis = createRedis(server.url, { name: 'bench-blobs' });
  await registerCalibrated(redis, settings);
  const program = new URL('./support/calibrated-worker.js', import.meta.url);
  const worker = fork(program, [server.url, JSON.stringify(settings)]);
  await once(worker, 'message');
  const producer = new Producer({ redis, blobRedis, sameRedis: true, blobLimitBytes: 2 ** 30 });
  await producer.start();
  try {
    return await use(producer, redis, worker);
  } finally {
    await producer.close();
    worker.kill('SIGKILL');
    redis.disconnect();
    blobRedis.disconnect();
  }
}

async function send(producer: Producer, bytes: number): Promise<string> {
  const data = new Uint8Array(bytes);
  const answer = await producer.infer({
    model: MODEL,
    version: VERSION,
    inputs: [{ name: 'x', dtype: 'uint8', dims: [bytes], data }],
  });
  return answer.lane;
}

/** Requests come by the clock, not when the last one is answered; at 0 the burst comes on top. */
async function burst(producer: Producer, burstClasses: number): Promise<Sample[]> {
  const samples: Sample[] = [];
  const open: Promise<void>[] = [];
  const startedAt = performance.now() + QUIET_MS;
  const request = (bytes: number, isBurst: boolean): void => {
    const sentAt = performance.now();
    open.push(
      send(producer, bytes).then((lane) => {
        samples.push({
          sentAt: sentAt - startedAt,
          ms: performance.now() - sentAt,
          burst: isBurst,
          burstClass: bytes <= burstClasses,
          lane,
        });
      }),
    );
  };
  let due = performance.now();
  let burstSent = false;
  for (let n = 0; performance.now() < startedAt + AFTER_MS; ) {
    for (; due <= performance.now(); due += LANE_MS / LOAD, n += 1) request((n % CLASSES) + 1, false);
    if (!burstSent && performance.now() >= startedAt) {
      burstSent = true;
      for (let at = 0; at < BURST_WORK_MS / LANE_MS; at += 1) request((at % burstClasses) + 1, true);
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all(open);
  return samples;
}

/** Seconds from the burst until every later window of these requests is as before. */
function recovery(samples: readonly Sample[]): { seconds: number; beforeP95: number; worstP95: number } {
  const p95 = (from: number, to: number) =>
    percentile(
      samples.filter(({ sentAt, burst: isBurst }) => !isBurst && sentAt >= from && sentAt < to).map(({ ms }) => ms),
      95,
    );
  const beforeP95 = p95(-BASELINE_MS, 0);
  let seconds = 0;
  let worstP95 = 0;
  for (let from = 0; from + WINDOW_MS <= AFTER_MS; from += WINDOW_MS) {
    const here = p95(from, from + WINDOW_MS);
    worstP95 = Math.max(worstP95, here);
    if (here > RECOVERED * beforeP95) seconds = (from + WINDOW_MS) / 1_000;
  }
  return { seconds, beforeP95, worstP95 };
}

async function recoveryRow(burstClasses: number): Promise<Row & { recoverySeconds: number }> {
  const runs: { seconds: number; beforeP95: number; worstP95: number; drainedSeconds: number; cold: number }[] = [];
  for (let run = 0; run < RUNS; run += 1) {
    const samples = await withWorker({ laneMs: LANE_MS, fallbackMs: FALLBACK_MS, classes: CLASSES }, (producer) =>
      burst(producer, burstClasses),
    );
    const steady = burstClasses < CLASSES ? samples.filter(({ burstClass }) => !burstClass) : samples;
    const ofBurst = samples.filter((sample) => sample.burst);
    const cold = samples.filter(({ lane }) => lane === 'cold').length;
    const drainedSeconds = Math.max(...ofBurst.map(({ sentAt, ms }) => sentAt + ms)) / 1_000;
    runs.push({ ...recovery(steady), drainedSeconds, cold });
  }
  const over = (value: (run: (typeof runs)[number]) => number) => round(median(runs.map(value)), 2);
  return {
    what: `burst of ${BURST_WORK_MS / LANE_MS} requests over ${burstClasses} of ${CLASSES} classes; recovery is of ${
      burstClasses < CLASSES ? "the other classes' requests" : 'all requests'
    }`,
    runs: RUNS,
    recoverySeconds: over((run) => run.seconds),
    beforeP95Ms: over((run) => run.beforeP95),
    worstP95Ms: over((run) => run.worstP95),
    drainedSeconds: over((run) => run.drainedSeconds),
    /** 3 s of work at the 30 % that are spare: nothing can be faster on one device. */
    drainFloorSeconds: round(BURST_WORK_MS / (1 - LOAD) / 1_000, 2),
    servedCold: over((run) => run.cold),
  };
}

const SUM_ACTIVE = `local sum = 0 for _, key in ipairs(KEYS) do sum = sum + redis.call('LLEN', key) end return sum`;

/** The most jobs that were active at once, seen in Redis every few ms, while 10,000 wait in 100 classes. */
async function activeRow(): Promise<Row & { maxActive: number; limit: number }> {
  const JOBS = 10_000;
  const MANY = 100;
  return withWorker({ laneMs: 1, fallbackMs: 30, classes: MANY }, async (producer, redis, worker) => {
    const lists = Array.from(
      { length: MANY },
      (_, n) => `{wl}:${classQueueName(MODEL, VERSION, shapeOf(n + 1))}:active`,
    );
    let maxActive = 0;
    let looks = 0;
    let done = false;
    const look = async (): Promise<void> => {
      const client = redis.duplicate();
      while (!done) {
        maxActive = Math.max(maxActive, Number(await client.eval(SUM_ACTIVE, MANY, ...lists)));
        looks += 1;
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      client.disconnect();
    };
    const looking = look();
    const begun = performance.now();
    const lanes = await Promise.all(Array.from({ length: JOBS }, (_, n) => send(producer, (n % MANY) + 1)));
    const seconds = (performance.now() - begun) / 1_000;
    done = true;
    await looking;
    worker.send('load');
    const [load] = (await once(worker, 'message')) as [CalibratedLoad];
    return {
      what: `${JOBS} jobs on ${MANY} classes`,
      seconds: round(seconds, 1),
      maxActive: Math.max(maxActive, load.maxActive),
      limit: deviceCredit(1) + MANY,
      looks,
      servedCold: lanes.filter((lane) => lane === 'cold').length,
    };
  });
}

const one = await recoveryRow(1);
const all = await recoveryRow(CLASSES);
const active = await activeRow();
await writeResult({
  name: 'burst',
  device: 'cpu',
  rows: [one, all, active],
  figures: {
    burst: { recoverySeconds: all.recoverySeconds, maxActive: active.maxActive, limit: active.limit },
  },
});
