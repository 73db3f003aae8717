import { WarmlaneError } from '@warmlane/contracts';
import { Producer } from '@warmlane/queues';
import { createRedis } from '@warmlane/redis';
import { SharedMemory } from '@warmlane/shm';
import { serveTasks } from './child-pool.js';
import { closedLoop, type LoadRun } from './load.js';
import { type OpenRun, type Outcome, openLoop } from './open-loop.js';
import { CHECKSUM, lineOf } from './rec-model.js';

/** What the bench asks of a producer process. */
export type ProducerTask = { model: string; width: number; checksum: number; warmMs: number; measureMs: number } & (
  | { kind: 'closed'; inFlight: number }
  | { kind: 'open'; perSecond: number; seed: number }
);
export type ProducerResult =
  | { kind: 'closed'; run: LoadRun }
  | { kind: 'open'; run: OpenRun }
  | { kind: 'failed'; why: string };

/** Numbers of a GPU with tf32 differ by some percent from the CPU's. */
const TOLERANCE = 0.05;
const DEADLINE_MS = 5_000;
/** A closed loop measures what is answered: on a slow machine all wait for long. */
const CLOSED_DEADLINE_MS = 60_000;
const SHED = new Set(['overloaded', 'deadline-exceeded']);

/** Queue in, checksum out: a program of its own, so that no bench's event loop stands between. */
async function main(): Promise<void> {
  const [url = ''] = process.argv.slice(2);
  const redis = createRedis(url, { name: 'bench-producer' });
  const blobRedis = createRedis(url, { name: 'bench-producer-blobs' });
  const memory = new SharedMemory({ dir: '/dev/shm', limitBytes: 2 ** 27 });
  const producer = new Producer({ redis, blobRedis, sameRedis: true, blobLimitBytes: 2 ** 31, memory });
  await producer.start();
  const lines = new Map<number, ReturnType<typeof lineOf>>();
  const line = (width: number): ReturnType<typeof lineOf> => {
    const known = lines.get(width) ?? lineOf(width);
    lines.set(width, known);
    return known;
  };
  const infer = async ({ kind, model, width, checksum }: ProducerTask): Promise<Outcome> => {
    const begun = performance.now();
    const { dims, data } = line(width);
    try {
      const answer = await producer.infer({
        model,
        inputs: [{ name: 'x', dtype: 'float32', dims, data }],
        outputs: [CHECKSUM],
        deadlineMs: kind === 'closed' ? CLOSED_DEADLINE_MS : DEADLINE_MS,
      });
      const bytes = answer.outputs[0]?.data ?? new Uint8Array(4);
      const got = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getFloat32(0, true);
      if (Math.abs(got - checksum) > TOLERANCE * checksum) throw new Error(`checksum ${got}, not ${checksum}`);
      return { ms: performance.now() - begun, served: answer.lane, bytes: data.byteLength + bytes.byteLength };
    } catch (thrown) {
      if (!(thrown instanceof WarmlaneError) || !SHED.has(thrown.code)) throw thrown;
      return { ms: performance.now() - begun, served: 'shed', bytes: 0 };
    }
  };
  const run = async (task: ProducerTask): Promise<ProducerResult> => {
    const { warmMs, measureMs } = task;
    if (task.kind === 'open') {
      const { perSecond, seed } = task;
      return { kind: 'open', run: await openLoop(perSecond, { warmMs, measureMs, seed }, () => infer(task)) };
    }
    const send = async (): Promise<void> => {
      const { served } = await infer(task);
      if (served === 'shed') throw new Error('a request was shed while only a few were under way');
    };
    return { kind: 'closed', run: await closedLoop(task.inFlight, warmMs, measureMs, send) };
  };
  serveTasks(run, () => memory.close());
}

await main();
