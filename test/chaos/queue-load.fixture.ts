import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { datatypeOf, dtypeOf, type NamedTensor, parseErrorBody } from '@warmlane/contracts';
import { Queue, QueueEvents } from 'bullmq';
import { Redis } from 'ioredis';
import type { SeededRandom } from '../support/seeded-random.js';
import { drawInputs, TRAFFIC } from './catalogue.fixture.js';
import { DEADLINE_MS, failed, type Judged, LATE_MS, type LoadDeps } from './http-load.fixture.js';

const PIECE_BYTES = 2 ** 20;
const INLINE_BYTES = 64 * 1024;
const POLL_MS = 100;

interface BlobRef {
  id: string;
  bytes: number;
}

interface OutputTensor {
  name: string;
  datatype: string;
  shape: number[];
  base64?: string;
  blob?: BlobRef;
}

/** A program that knows BullMQ and the form of the entry queue, and nothing else of Warmlane. */
export class BareClient {
  readonly #redis: Redis;
  readonly #blocking: Redis;
  readonly #queue: Queue;
  readonly #events: QueueEvents;
  readonly #ends = new Map<string, number>();

  constructor(redisUrl: string) {
    const quiet = (): void => undefined;
    this.#redis = new Redis(redisUrl, { maxRetriesPerRequest: null, retryStrategy: () => 100 });
    this.#redis.on('error', quiet);
    this.#queue = new Queue('inference', { prefix: '{wl}', connection: this.#redis });
    this.#queue.on('error', quiet);
    this.#blocking = this.#redis.duplicate();
    this.#blocking.on('error', quiet);
    this.#events = new QueueEvents('inference', { prefix: '{wl}', connection: this.#blocking });
    this.#events.on('error', quiet);
    const ended = ({ jobId }: { jobId: string }): void => {
      this.#ends.set(jobId, (this.#ends.get(jobId) ?? 0) + 1);
    };
    this.#events.on('completed', ended);
    this.#events.on('failed', ended);
  }

  /** Jobs that ended more than once. */
  endedAgain(): string[] {
    return [...this.#ends].filter(([, times]) => times > 1).map(([job, times]) => `job ${job} ended ${times} times`);
  }

  /** One job after the other, until stopped. */
  async loop(deps: LoadDeps, random: SeededRandom): Promise<void> {
    while (!deps.stop.aborted) {
      const shape = random.pick(TRAFFIC);
      const inputs = drawInputs(shape, random);
      const startedAt = performance.now();
      const judged = await this.#infer(deps, shape.model, inputs);
      const tookMs = performance.now() - startedAt;
      deps.ledger.add({ way: 'queue', model: shape.model, startedAt, tookMs, ...judged });
    }
  }

  /** Redis may be gone already: then BullMQ's own closing would wait for it. */
  close(): void {
    this.#blocking.disconnect();
    this.#redis.disconnect();
    this.#events.close().catch(() => undefined);
    this.#queue.close().catch(() => undefined);
  }

  async #infer(deps: LoadDeps, model: string, inputs: readonly NamedTensor[]): Promise<Judged> {
    const bytes = inputs.reduce((sum, input) => sum + input.data.byteLength, 0);
    const tensors = await Promise.all(
      inputs.map(async ({ name, dtype, dims, data }) => ({
        name,
        datatype: datatypeOf(dtype),
        shape: dims,
        ...(bytes <= INLINE_BYTES
          ? { base64: Buffer.from(data).toString('base64') }
          : { blob: await this.#write(Buffer.from(data)) }),
      })),
    );
    const job = await this.#queue.add('infer', { v: 1, model, inputs: tensors, deadlineMs: DEADLINE_MS });
    const until = performance.now() + DEADLINE_MS + LATE_MS;
    let state = 'unknown';
    while (performance.now() < until) {
      // The state first: a job read before its end holds no result yet.
      state = await job.getState();
      const now = await this.#queue.getJob(job.id ?? '');
      if (now === undefined) return failed('lost', `job ${job.id} is gone, last ${state}`);
      if (state === 'failed') {
        const error = parseErrorBody(now.failedReason);
        return failed('error', error?.code ?? now.failedReason);
      }
      if (state === 'completed') {
        const { lane, outputs } = now.returnvalue as { lane: string; outputs: OutputTensor[] };
        const got = await Promise.all(outputs.map((output) => this.#read(output)));
        const problem = await deps.oracle.judge(model, inputs, got);
        return problem === null ? { outcome: 'right', detail: '', lane } : failed('wrong', problem);
      }
      await pause(POLL_MS);
    }
    return failed('lost', `job ${job.id} is still ${state} at its deadline`);
  }

  /** As the contract says: one key, or above 1 MiB pieces of 1 MiB, that outlive the deadline by 60 s. */
  async #write(data: Buffer): Promise<BlobRef> {
    const ref = { id: randomBytes(16).toString('hex'), bytes: data.byteLength };
    for (const [n, key] of keysOf(ref).entries()) {
      const piece = ref.bytes <= PIECE_BYTES ? data : data.subarray(n * PIECE_BYTES, (n + 1) * PIECE_BYTES);
      await this.#redis.set(key, piece, 'PX', DEADLINE_MS + 60_000);
    }
    return ref;
  }

  async #read({ name, datatype, shape, base64, blob }: OutputTensor): Promise<NamedTensor> {
    const spec = { name, dtype: dtypeOf(datatype) ?? ('string' as const), dims: shape };
    if (blob === undefined) return { ...spec, data: Buffer.from(base64 ?? '', 'base64') };
    const pieces = await Promise.all(keysOf(blob).map((key) => this.#redis.getBuffer(key)));
    return { ...spec, data: Buffer.concat(pieces.map((piece) => piece ?? Buffer.alloc(0))) };
  }
}

function keysOf({ id, bytes }: BlobRef): string[] {
  if (bytes <= PIECE_BYTES) return [`{wl}:blob:${id}`];
  return Array.from({ length: Math.ceil(bytes / PIECE_BYTES) }, (_, piece) => `{wl}:blob:${id}:${piece}`);
}
