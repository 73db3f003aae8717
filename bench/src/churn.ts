import { setTimeout as delay } from 'node:timers/promises';
import { PREFIX } from '@warmlane/redis';
import { identityModel } from '@warmlane/testing';
import { Queue, QueueEvents } from 'bullmq';
import { benchDevice, deviceArgument } from './support/bench-device.js';
import { CpuWorker, type CpuWorkerOptions } from './support/cpu-worker.js';
import { BenchFolder } from './support/repository.js';
import { type Row, round, writeResult } from './support/result.js';
import { System, startRedis } from './support/system.js';

// 10,000 jobs of a bare BullMQ client on 100 shape classes, while workers join and leave: one stays, another comes and is
// asked to leave or killed, again and again. Every job must come to its own right answer, once. With `--device cuda:0` the one
// that stays has the GPU, and those that come and go the CPU.

const JOBS = 10_000;
const CLASSES = 100;
const AT_ONCE = 200;
const STAYS_MS = 6_000;
const PAUSE_MS = 500;
const DEADLINE_MS = 120_000;
const LOOK_AFTER_MS = 5_000;
const LOOK_EVERY_MS = 2_000;
/** Between an answer and the next job of the same place: the jobs themselves take no time. */
const REST_MS = 1_000;
const READY_LIMIT_MS = 600_000;

interface Outcome {
  /** How often the job ended. */
  ends: number;
  right: boolean;
  failure: string;
}

/** Unlike those of every other job. */
const valuesOf = (job: number): Float32Array =>
  Float32Array.from({ length: (job % CLASSES) + 1 }, (_, at) => job + at / 128);

/** Workers that come and go beside the one of the system, until told to stop. */
class Guests {
  joined = 0;
  left = 0;
  killed = 0;
  #stopping = false;
  readonly #life: Promise<void>;

  constructor(private readonly options: CpuWorkerOptions) {
    this.#life = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#life;
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      const guest = new CpuWorker(this.options);
      this.joined += 1;
      await delay(STAYS_MS);
      const asked = this.joined % 2 === 1;
      if (asked) this.left += 1;
      else this.killed += 1;
      await guest.end(asked ? 'SIGTERM' : 'SIGKILL');
      await delay(PAUSE_MS);
    }
  }
}

await using server = await startRedis();
await using folder = await BenchFolder.create();
const shapes = Array.from({ length: CLASSES }, (_, at) => `"x:float32[${at + 1}]"`).join(', ');
await folder.add('copy', identityModel('float32', ['N']), `shapes: [${shapes}]\n`);
const quiet = { WARMLANE_LOG_LEVEL: 'error' };
await using system = await System.start({
  models: folder.models,
  redis: server.url,
  data: folder.data,
  device: deviceArgument(),
  env: quiet,
});
await system.untilReady(READY_LIMIT_MS);
const device = await benchDevice(system.url);

const connection = { url: server.url };
const queue = new Queue('inference', { connection, prefix: PREFIX });
const events = new QueueEvents('inference', { connection, prefix: PREFIX });
await events.waitUntilReady();
const outcomes = new Map<string, Outcome>();
const waiting = new Map<string, { job: number; since: number; ended: () => void }>();

function note(id: string, read: (job: number) => Pick<Outcome, 'right' | 'failure'>): void {
  const before = outcomes.get(id);
  const known = waiting.get(id);
  if (known === undefined && before === undefined) return;
  if (before === undefined && known !== undefined) outcomes.set(id, { ends: 1, ...read(known.job) });
  else if (before !== undefined) before.ends += 1;
  waiting.delete(id);
  known?.ended();
}

interface Answer {
  outputs: { base64: string }[];
}

/** @param value as an event's text says it, parsed or not */
function completed(id: string, value: unknown): void {
  note(id, (job) => {
    const answer = (typeof value === 'string' ? JSON.parse(value) : value) as Answer;
    const got = Buffer.from(answer.outputs[0]?.base64 ?? '', 'base64');
    return { right: got.equals(Buffer.from(valuesOf(job).buffer)), failure: '' };
  });
}
events.on('completed', ({ jobId, returnvalue }) => completed(jobId, returnvalue));
events.on('failed', ({ jobId, failedReason }) => note(jobId, () => ({ right: false, failure: failedReason })));

let missedEvents = 0;

/** A client that listens from now on misses what happens before its first read: who waits for long looks at the job itself. */
async function look(): Promise<void> {
  const old = [...waiting].filter(([, { since }]) => performance.now() - since > LOOK_AFTER_MS);
  for (const [id] of old) {
    const job = await queue.getJob(id);
    if (job?.finishedOn === undefined || !waiting.has(id)) continue;
    missedEvents += 1;
    if (job.failedReason) note(id, () => ({ right: false, failure: job.failedReason }));
    else completed(id, job.returnvalue);
  }
}
const looking = setInterval(() => void look(), LOOK_EVERY_MS);

async function send(job: number): Promise<void> {
  const values = valuesOf(job);
  const id = `churn-${job}`;
  const ended = new Promise<void>((resolve) => waiting.set(id, { job, since: performance.now(), ended: resolve }));
  const base64 = Buffer.from(values.buffer).toString('base64');
  const inputs = [{ name: 'x', datatype: 'FP32', shape: [values.length], base64 }];
  await queue.add('infer', { v: 1, model: 'copy', inputs, deadlineMs: DEADLINE_MS }, { jobId: id });
  await Promise.race([ended, delay(DEADLINE_MS + 30_000, undefined, { ref: false })]);
}

const guests = new Guests({
  models: folder.models,
  redis: server.url,
  data: `${folder.root}/guest`,
  env: quiet,
});
const begun = performance.now();
let next = 0;
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    while (next < JOBS) {
      const job = next;
      next += 1;
      await send(job);
      await delay(REST_MS);
    }
  }),
);
const seconds = (performance.now() - begun) / 1e3;
await guests.stop();
// Whoever would be answered a second time has been by now.
await delay(6_000);
clearInterval(looking);
await Promise.all([queue.close(), events.close()]);

const ended = [...outcomes.values()];
const failures = [...new Set(ended.map(({ failure }) => failure).filter((failure) => failure !== ''))];
const row: Row = {
  what: `${JOBS} jobs on ${CLASSES} classes`,
  seconds: round(seconds, 1),
  joined: guests.joined,
  left: guests.left,
  killed: guests.killed,
  missedEvents,
  failures: failures.slice(0, 3).join(' | '),
};
await writeResult(
  {
    name: 'churn',
    device: device.name,
    rows: [row],
    figures: {
      churn: {
        // A job that failed with a typed error was answered; here none has a reason to.
        lost: JOBS - ended.filter(({ failure }) => failure === '').length,
        twice: ended.filter(({ ends }) => ends > 1).length,
        wrong: ended.filter(({ right, failure }) => failure === '' && !right).length,
      },
    },
  },
  device.versions,
);
