import { Producer } from '@warmlane/queues';
import { createRedis } from '@warmlane/redis';
import { closedLoop, type LoadRun } from '../support/load.js';
import { type OpenRun, type Outcome, openLoop } from '../support/open-loop.js';
import { CHECKSUM, lineOf } from '../support/rec-model.js';

/** What the bench asks of its producer process. `end` ends an open loop before its time. */
export type TrafficTask = { widths: number[]; warmMs: number; measureMs: number } & (
  | { kind: 'closed'; inFlight: number }
  | { kind: 'open'; perSecond: number; seed: number }
);
export type TrafficMessage = TrafficTask | { kind: 'end' };

/** A request with the time it was sent, ms since 1970. */
export interface TimedOutcome extends Outcome {
  sentAt: number;
}
export type TrafficResult =
  | { kind: 'closed'; run: LoadRun }
  | { kind: 'open'; run: OpenRun<TimedOutcome> }
  | { kind: 'failed'; why: string };

const MODEL = 'rec';
/** Numbers of a lane are the same from run to run, but for what tf32 and the order of sums leave open. */
const TOLERANCE = 0.01;
const DEADLINE_MS = 30_000;

/** Queue in, checksum out: a program of its own, so that neither HTTP nor the bench's event loop stands between. */
async function main(): Promise<void> {
  const [url = ''] = process.argv.slice(2);
  const redis = createRedis(url, { name: 'bench-producer' });
  const blobRedis = createRedis(url, { name: 'bench-producer-blobs' });
  const producer = new Producer({ redis, blobRedis, sameRedis: true, blobLimitBytes: 2 ** 31 });
  await producer.start();
  const checksums = new Map<number, number>();
  const infer = async (width: number): Promise<TimedOutcome> => {
    const begun = performance.now();
    const { dims, data } = lineOf(width);
    const inputs = [{ name: 'x', dtype: 'float32' as const, dims, data }];
    const answer = await producer.infer({ model: MODEL, inputs, outputs: [CHECKSUM], deadlineMs: DEADLINE_MS });
    const ms = performance.now() - begun;
    const bytes = answer.outputs[0]?.data ?? new Uint8Array(4);
    const got = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getFloat32(0, true);
    const expected = checksums.get(width) ?? got;
    checksums.set(width, expected);
    if (!(Math.abs(got - expected) <= TOLERANCE * Math.abs(expected)))
      throw new Error(`checksum ${got}, not ${expected}`);
    const sentAt = performance.timeOrigin + begun;
    return { ms, served: answer.lane, bytes: data.byteLength + bytes.byteLength, sentAt };
  };
  let ending = new AbortController();
  const run = async (task: TrafficTask): Promise<TrafficResult> => {
    const { widths, warmMs, measureMs } = task;
    let n = 0;
    const next = (): Promise<TimedOutcome> => {
      const width = widths[n % widths.length];
      n += 1;
      if (width === undefined) throw new Error('no widths');
      return infer(width);
    };
    if (task.kind === 'open') {
      ending = new AbortController();
      const load = { warmMs, measureMs, seed: task.seed, signal: ending.signal };
      return { kind: 'open', run: await openLoop(task.perSecond, load, next) };
    }
    const send = async (): Promise<void> => {
      await next();
    };
    return { kind: 'closed', run: await closedLoop(task.inFlight, warmMs, measureMs, send) };
  };
  process.on('message', (message: TrafficMessage) => {
    if (message.kind === 'end') {
      ending.abort();
      return;
    }
    run(message).then(
      (result) => process.send?.(result),
      (error: unknown) => process.send?.({ kind: 'failed', why: String(error) }),
    );
  });
  process.on('disconnect', () => process.exit(0));
  process.send?.('ready');
}

await main();
