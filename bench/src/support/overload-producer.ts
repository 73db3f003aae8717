import { setTimeout as delay } from 'node:timers/promises';
import { WarmlaneError } from '@warmlane/contracts';
import { Producer } from '@warmlane/queues';
import { createRedis } from '@warmlane/redis';
import { dimsOf, MODEL, VERSION } from './calibrated-model.js';
import { serveTasks } from './child-pool.js';
import { closedLoop, type LoadRun } from './load.js';
import { type OpenRun, type Outcome, openLoop } from './open-loop.js';

/** What the bench asks of a producer: requests of `classes` shapes in turn. */
export type OverloadTask = { classes: number; items?: number } & (
  | { kind: 'closed'; inFlight: number; warmMs: number; measureMs: number }
  | { kind: 'open'; perSecond: number; deadlineMs: number; warmMs: number; measureMs: number; seed: number }
  | { kind: 'burst'; requests: number; deadlineMs: number; afterMs: number }
);
/** `served` of an outcome: `ready`, or the code of its error. */
export type OverloadResult =
  | { kind: 'closed'; run: LoadRun }
  | { kind: 'open' | 'burst'; run: OpenRun }
  | { kind: 'failed'; why: string };

const SHED = new Set(['overloaded', 'deadline-exceeded']);
/** A closed loop measures what is answered: none of its requests is to be refused for its deadline. */
const CLOSED_DEADLINE_MS = 60_000;

async function main(): Promise<void> {
  const [url = ''] = process.argv.slice(2);
  const redis = createRedis(url, { name: 'bench-producer' });
  const blobRedis = createRedis(url, { name: 'bench-producer-blobs' });
  const producer = new Producer({ redis, blobRedis, sameRedis: true, blobLimitBytes: 2 ** 30 });
  await producer.start();
  const infer = async (n: number, { classes, items }: OverloadTask, deadlineMs: number): Promise<Outcome> => {
    const begun = performance.now();
    const bytes = (n % classes) + 1;
    const data = new Uint8Array(bytes * (items ?? 1));
    const inputs = [{ name: 'x', dtype: 'uint8' as const, dims: dimsOf(bytes, items), data }];
    try {
      const { lane } = await producer.infer({ model: MODEL, version: VERSION, inputs, deadlineMs });
      return { ms: performance.now() - begun, served: lane, bytes: 0 };
    } catch (thrown) {
      if (!(thrown instanceof WarmlaneError) || !SHED.has(thrown.code)) throw thrown;
      return { ms: performance.now() - begun, served: thrown.code, bytes: 0 };
    }
  };
  let next = 0;
  const run = async (task: OverloadTask): Promise<OverloadResult> => {
    if (task.kind === 'open') {
      const { perSecond, deadlineMs } = task;
      return { kind: 'open', run: await openLoop(perSecond, task, (n) => infer(n, task, deadlineMs)) };
    }
    if (task.kind === 'burst') {
      const { requests, deadlineMs, afterMs } = task;
      await delay(afterMs);
      const outcomes = await Promise.all(Array.from({ length: requests }, (_, n) => infer(n, task, deadlineMs)));
      return { kind: 'burst', run: { offeredPerSecond: 0, seconds: deadlineMs / 1_000, outcomes } };
    }
    const send = async (): Promise<void> => {
      next += 1;
      await infer(next, task, CLOSED_DEADLINE_MS);
    };
    return { kind: 'closed', run: await closedLoop(task.inFlight, task.warmMs, task.measureMs, send) };
  };
  serveTasks(run, () => undefined);
}

await main();
