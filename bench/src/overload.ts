import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { createRedis } from '@warmlane/redis';
import { type CalibratedLoad, type CalibratedSettings, registerCalibrated } from './support/calibrated-model.js';
import { ChildPool } from './support/child-pool.js';
import { together } from './support/open-loop.js';
import type { OverloadResult, OverloadTask } from './support/overload-producer.js';
import { median, percentile, type Row, round, writeResult } from './support/result.js';
import { startRedis } from './support/system.js';

/**
 * `./warmlane bench overload [--seconds 5] [--rounds 3] [--factors 0.8,1.5,2,4] [--producers 1,3]`: answers in time per second where
 * more is offered than a device can take. Lanes of known cost; Redis, BullMQ, producers, scheduler and answers are the real ones.
 */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '3' },
    factors: { type: 'string', default: '0.8,1.5,2,4' },
    producers: { type: 'string', default: '1,3' },
    only: { type: 'string', default: '' },
  },
});
const MEASURE_MS = Number(values.seconds) * 1_000;
const WARM_MS = 2_500;
/** What is possible is measured anew before each run: on a busy machine it changes. */
const POSSIBLE_MS = 2_000;
const ROUNDS = Number(values.rounds);
const FACTORS = values.factors.split(',').map(Number);
const PRODUCERS = values.producers.split(',').map(Number);

interface Case {
  lanes: string;
  settings: CalibratedSettings;
  deadlineMs: number;
  /** Requests at one moment that are more than can be answered in time. */
  burst: { requests: number; deadlineMs: number };
}

const FALLBACK_MS = 150;
const all: Case[] = [
  {
    lanes: 'batch 1, 10 ms',
    settings: { laneMs: 10, fallbackMs: FALLBACK_MS, classes: 1 },
    deadlineMs: 2_000,
    burst: { requests: 600, deadlineMs: 1_500 },
  },
  {
    lanes: 'batch 1, 28 ms',
    settings: { laneMs: 28, fallbackMs: FALLBACK_MS, classes: 1 },
    deadlineMs: 2_000,
    burst: { requests: 300, deadlineMs: 1_500 },
  },
  {
    lanes: 'batch 1, 10 ms, 2 shapes',
    settings: { laneMs: 10, fallbackMs: FALLBACK_MS, classes: 2 },
    deadlineMs: 2_000,
    burst: { requests: 1_000, deadlineMs: 1_500 },
  },
  {
    lanes: 'batches of 8, 32 ms',
    settings: { laneMs: 18, fallbackMs: FALLBACK_MS, classes: 1, batches: { sizes: [1, 2, 4, 8], itemMs: 2 } },
    deadlineMs: 2_000,
    burst: { requests: 1_000, deadlineMs: 1_500 },
  },
];
const CASES = all.filter(({ lanes }) => lanes.includes(values.only));

async function load(worker: ChildProcess): Promise<CalibratedLoad> {
  worker.send('load');
  const [answer] = (await once(worker, 'message')) as [CalibratedLoad];
  return answer;
}

interface Seen {
  /** Offered, and answers that were possible, just before. */
  offered: number;
  possible: number;
  perSecond: number;
  refused: number;
  late: number;
  p50Ms: number;
  p99Ms: number;
  busy: number;
  ranPerSecond: number;
}

const rows: Row[] = [];
const shares: number[] = [];
for (const { lanes, settings, deadlineMs, burst } of CASES) {
  await using server = await startRedis();
  const redis = createRedis(server.url, { name: 'bench' });
  await registerCalibrated(redis, settings);
  redis.disconnect();
  const worker = fork(new URL('./support/calibrated-worker.js', import.meta.url), [
    server.url,
    JSON.stringify(settings),
  ]);
  await once(worker, 'message');
  const base = { classes: settings.classes, ...(settings.batches === undefined ? {} : { items: 1 }) };
  for (const count of PRODUCERS) {
    await using producers = await ChildPool.start<OverloadTask, OverloadResult>(
      'overload-producer.js',
      [server.url],
      count,
    );
    const run = async (task: (at: number) => OverloadTask): Promise<Omit<Seen, 'offered' | 'possible'>> => {
      const before = await load(worker);
      const begun = performance.now();
      const results = await producers.run(task);
      const seconds = (performance.now() - begun) / 1_000;
      const after = await load(worker);
      const busy = (after.busyMs - before.busyMs) / seconds / 1_000;
      const ranPerSecond = (after.items - before.items) / seconds;
      const closed = results.flatMap((result) => (result.kind === 'closed' ? [result.run] : []));
      if (closed.length > 0) {
        const perSecond = closed.reduce((sum, one) => sum + one.perSecond, 0);
        return { perSecond, refused: 0, late: 0, p50Ms: 0, p99Ms: 0, busy, ranPerSecond };
      }
      const open = together(results.flatMap((result) => (result.kind === 'closed' ? [] : [result.run])));
      const share = (code: string) =>
        open.outcomes.filter(({ served }) => served === code).length / open.outcomes.length;
      const ms = open.outcomes.filter(({ served }) => served === 'ready').map((one) => one.ms);
      return {
        perSecond: ms.length / open.seconds,
        refused: share('overloaded'),
        late: share('deadline-exceeded'),
        p50Ms: percentile(ms, 50),
        p99Ms: percentile(ms, 99),
        busy,
        ranPerSecond,
      };
    };
    const times = { warmMs: WARM_MS, measureMs: MEASURE_MS };
    const possible = async (): Promise<number> => {
      const inFlight = Math.ceil(96 / count);
      return (await run(() => ({ ...base, kind: 'closed', inFlight, warmMs: 500, measureMs: POSSIBLE_MS }))).perSecond;
    };
    const add = (what: string, seen: readonly Seen[]): void => {
      const over = (value: (one: Seen) => number, digits = 2) => round(median(seen.map(value)), digits);
      const share = over((one) => one.perSecond / one.possible);
      const row = {
        what,
        lanes,
        producers: count,
        runs: seen.length,
        offered: over((one) => one.offered, 1),
        possible: over((one) => one.possible, 1),
        perSecond: over((one) => one.perSecond, 1),
        share,
        refused: over((one) => one.refused),
        late: over((one) => one.late, 3),
        p50Ms: over((one) => one.p50Ms, 0),
        p99Ms: over((one) => one.p99Ms, 0),
        busy: over((one) => one.busy),
        ranPerSecond: over((one) => one.ranPerSecond, 1),
      };
      if (seen.every((one) => one.offered > one.possible)) shares.push(share);
      rows.push(row);
      process.stderr.write(`${JSON.stringify(row)}\n`);
    };
    for (const factor of FACTORS) {
      const seen: Seen[] = [];
      for (let turn = 0; turn < ROUNDS; turn += 1) {
        const most = await possible();
        const perSecond = (factor * most) / count;
        const one = await run((at) => ({
          ...base,
          ...times,
          kind: 'open',
          perSecond,
          deadlineMs,
          seed: turn * 16 + 7 + at,
        }));
        seen.push({ ...one, offered: factor * most, possible: Math.min(1, factor) * most });
      }
      add(`${factor} of what is possible`, seen);
    }
    const bursts: Seen[] = [];
    for (let turn = 0; turn < ROUNDS; turn += 1) {
      const most = await possible();
      const requests = Math.ceil(burst.requests / count);
      const one = await run(() => ({ ...base, kind: 'burst', requests, deadlineMs: burst.deadlineMs, afterMs: 1_500 }));
      bursts.push({ ...one, offered: (burst.requests / burst.deadlineMs) * 1_000, possible: most });
    }
    add(`burst of ${burst.requests} with ${burst.deadlineMs} ms`, bursts);
  }
  worker.kill('SIGKILL');
}
await writeResult({
  name: 'overload',
  device: 'cpu',
  rows,
  figures: { overload: { leastShare: Math.min(...shares) } },
});
