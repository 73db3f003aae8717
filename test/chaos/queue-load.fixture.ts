import { randomBytes } from 'node:crypto';
import { datatypeOf, dtypeOf, type NamedTensor, parseErrorBody } from '@warmlane/contracts';
import { Redis } from 'ioredis';
import type { SeededRandom } from '../support/seeded-random.js';
import { drawInputs, TRAFFIC, type TrafficShape } from './catalogue.fixture.js';
import { EntryQueue, type JobEnd } from './entry-queue.fixture.js';
import { DEADLINE_MS, failed, type Judged, LATE_MS, type LoadDeps } from './http-load.fixture.js';

const PIECE_BYTES = 2 ** 20;
const INLINE_BYTES = 64 * 1024;

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

/** A program that knows BullMQ and the forms of the entry queues, and nothing else of Warmlane. */
export class BareClient {
  readonly #redis: Redis;
  readonly #infers: EntryQueue;
  readonly #warms: EntryQueue;

  constructor(redisUrl: string) {
    this.#redis = new Redis(redisUrl, { maxRetriesPerRequest: null, retryStrategy: () => 100 });
    this.#redis.on('error', () => undefined);
    this.#infers = new EntryQueue('inference', this.#redis);
    this.#warms = new EntryQueue('warmup', this.#redis);
  }

  /** Jobs that ended more than once. */
  endedAgain(): string[] {
    return [...this.#infers.endedAgain(), ...this.#warms.endedAgain()];
  }

  /** One inference after the other, until stopped. */
  async loop(deps: LoadDeps, random: SeededRandom): Promise<void> {
    while (!deps.stop.aborted) {
      const shape = random.pick(TRAFFIC);
      const inputs = drawInputs(shape, random);
      const startedAt = performance.now();
      const judged = await this.inferred(deps, await this.infer(shape, inputs), shape, inputs);
      const tookMs = performance.now() - startedAt;
      deps.ledger.add({ way: 'queue', model: shape.model, startedAt, tookMs, ...judged });
    }
  }

  /** Adds an inference; resolves with the job's id once Redis has it. */
  async infer({ model }: TrafficShape, inputs: readonly NamedTensor[]): Promise<string> {
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
    return this.#infers.add('infer', { v: 1, model, inputs: tensors, deadlineMs: DEADLINE_MS });
  }

  /** What became of an inference, by its deadline. */
  async inferred(
    { oracle }: Pick<LoadDeps, 'oracle'>,
    id: string,
    { model }: TrafficShape,
    inputs: readonly NamedTensor[],
  ): Promise<Judged> {
    const end = await this.#infers.end(id, DEADLINE_MS + LATE_MS);
    if (end.state === 'lost') return failed('lost', end.reason);
    if (end.state === 'failed') return failed('error', parseErrorBody(end.reason)?.code ?? end.reason);
    const { lane, outputs } = end.value as { lane: string; outputs: OutputTensor[] };
    const got = await Promise.all(outputs.map((output) => this.#read(output)));
    const problem = await oracle.judge(model, inputs, got);
    return problem === null ? { outcome: 'right', detail: '', lane } : failed('wrong', problem);
  }

  /** Adds a warm-up; resolves with the job's id once Redis has it. */
  warm(model: string, shapeKey: string, deadlineMs: number): Promise<string> {
    return this.#warms.add('warm', { v: 1, model, version: '1', shapes: [shapeKey], deadlineMs });
  }

  /** How a warm-up ended, within the time given. */
  warmed(id: string, limitMs: number): Promise<JobEnd> {
    return this.#warms.end(id, limitMs);
  }

  /** Redis may be gone already: then BullMQ's own closing would wait for it. */
  close(): void {
    this.#infers.close();
    this.#warms.close();
    this.#redis.disconnect();
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
