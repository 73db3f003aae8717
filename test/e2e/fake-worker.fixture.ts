import {
  type ClassJob,
  type JobTensor,
  type LaneDoc,
  type LaneState,
  type ModelMetadata,
  modelConfigSchema,
  type NamedTensor,
  newId,
  WarmlaneError,
  type WarmRecord,
  type WorkerDoc,
} from '@warmlane/contracts';
import { createWorker, SERVING_SETTINGS } from '@warmlane/queues';
import {
  BlobStore,
  classQueueName,
  coldQueueName,
  createRedis,
  type DeclaredShape,
  HEARTBEAT_EVERY_MS,
  LaneStore,
  type LoadOutcome,
  ModelStore,
  PlanStore,
  ReplyStore,
  WorkerStore,
} from '@warmlane/redis';
import type { Redis } from 'ioredis';

export type Compute = (inputs: NamedTensor[], job: ClassJob) => NamedTensor[] | Promise<NamedTensor[]>;

export interface FakeModel {
  name: string;
  version: string;
  metadata: ModelMetadata;
  compute: Compute;
  config?: Record<string, unknown>;
}

const WORKER_ID = 'fake-0';
const TIMING = { queueMs: 0.25, gatherMs: 0, copyMs: 0.125, computeMs: 0.5 };
const ANSWER_INLINE_BYTES = 64 * 1024;

export const RECORD: WarmRecord = {
  firstMs: 50,
  createMs: 10,
  captureMs: null,
  steadyP50Ms: 1,
  steadyP99Ms: 2,
  revisitP50Ms: 1,
  revisit: 'shapes',
  relativeError: 1e-6,
  tolerance: 1e-4,
  inputs: 'guessed',
  samples: 2,
  optionsParsed: {},
  placement: { CPUExecutionProvider: 2 },
  graph: 'not on CPU',
  memoryBytes: 1024,
  environment: 'test',
  verifiedAt: new Date(0).toISOString(),
};

/**
 * A worker as the API sees one: it registers models, beats, holds lanes and answers jobs over the real queues and stores.
 * Only the models are functions of this test.
 */
export class FakeWorker implements AsyncDisposable {
  readonly redis: Redis;
  readonly models: ModelStore;
  readonly plans: PlanStore;
  readonly lanes: LaneStore;
  readonly workers: WorkerStore;
  readonly jobs: ClassJob[] = [];
  epoch = 0;
  readonly #replies: ReplyStore;
  readonly #blobs: BlobStore;
  readonly #queues: { close(force: boolean): Promise<void> }[] = [];
  readonly #computes = new Map<string, Compute>();
  readonly #held = new Set<string>();
  #beat: NodeJS.Timeout | null = null;

  private constructor(url: string) {
    this.redis = createRedis(url, { name: 'fake-worker' });
    this.models = new ModelStore(this.redis);
    this.plans = new PlanStore(this.redis);
    this.lanes = new LaneStore(this.redis);
    this.workers = new WorkerStore(this.redis);
    this.#replies = new ReplyStore(this.redis);
    this.#blobs = new BlobStore(this.redis, this.redis, { limitBytes: 2 ** 30 });
  }

  static async start(url: string, state: WorkerDoc['state'] = 'serving'): Promise<FakeWorker> {
    const worker = new FakeWorker(url);
    worker.epoch = await worker.workers.nextEpoch(WORKER_ID);
    await worker.workers.heartbeat(WORKER_ID, worker.epoch);
    worker.#beat = setInterval(() => {
      worker.workers.heartbeat(WORKER_ID, worker.epoch).catch(() => undefined);
    }, HEARTBEAT_EVERY_MS);
    await worker.say(state);
    return worker;
  }

  /** Publishes the worker's own state. */
  async say(state: WorkerDoc['state']): Promise<void> {
    await this.workers.put({
      id: WORKER_ID,
      host: 'test-host',
      device: 'cpu',
      provider: 'cpu',
      epoch: this.epoch,
      state,
      since: new Date().toISOString(),
      reason: '',
      memory: { budget: 2 ** 30, used: 2 ** 20 },
      lanes: {},
      pid: process.pid,
      environment: 'test',
      models: [...this.#held],
    });
  }

  /** Registers a loaded model and declares its shapes; nobody answers for it yet. */
  async register(model: FakeModel, shapes: readonly DeclaredShape[] = []): Promise<void> {
    const { name, version, metadata } = model;
    const config = modelConfigSchema.parse({ shapes: shapes.map((shape) => shape.shapeKey), ...model.config });
    await this.models.register({ name, version, state: 'LOADED', reason: '', digest: `sha-${name}`, metadata, config });
    await this.plans.setDeclared(name, version, shapes);
    this.#held.add(`${name}/${version}`);
    await this.say('serving');
  }

  /** Registers a model and answers its cold queue. */
  async serve(model: FakeModel, shapes: readonly DeclaredShape[] = []): Promise<void> {
    this.#computes.set(`${model.name}/${model.version}`, model.compute);
    await this.register(model, shapes);
    await this.#answer(coldQueueName(model.name, model.version), 'cold');
  }

  /** Makes a lane READY and answers its class queue. */
  async warm(name: string, version: string, shapeKey: string): Promise<LaneDoc> {
    const lane = this.lane(name, version, shapeKey, 'READY', '', RECORD);
    await this.#answer(classQueueName(name, version, shapeKey), 'ready');
    await this.lanes.ready(lane, shapeKey);
    return lane;
  }

  /** A lane's document, not yet written. */
  lane(
    model: string,
    version: string,
    shapeKey: string,
    state: LaneState,
    reason = '',
    record: WarmRecord | null = null,
  ): LaneDoc {
    return {
      id: newId(),
      model,
      version,
      shapeKey,
      state,
      since: new Date().toISOString(),
      reason,
      trigger: 'plan',
      worker: WORKER_ID,
      epoch: this.epoch,
      record,
    };
  }

  /** Says what comes of the newest wish to load the name. */
  async answerLoad(name: string, outcome: LoadOutcome): Promise<void> {
    const wish = (await this.models.desired()).find((one) => one.name === name && one.desired === 'load')?.wish ?? 0;
    await this.models.answerLoad(name, WORKER_ID, { wish, outcome });
  }

  /** Stops beating, as a worker that died. */
  silence(): void {
    if (this.#beat !== null) clearInterval(this.#beat);
    this.#beat = null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.silence();
    await Promise.all(this.#queues.map((queue) => queue.close(true)));
    this.redis.disconnect();
  }

  async #answer(queue: string, lane: 'ready' | 'cold'): Promise<void> {
    const worker = createWorker<ClassJob, undefined>(
      queue,
      async (job) => {
        await this.#run(job.data, lane);
        return undefined;
      },
      { redis: this.redis, settings: SERVING_SETTINGS, concurrency: 64, holder: WORKER_ID },
    );
    this.#queues.push(worker);
    await worker.waitUntilReady();
  }

  async #run(job: ClassJob, lane: 'ready' | 'cold'): Promise<void> {
    this.jobs.push(job);
    const { request, producer, shapeKey } = job;
    try {
      const compute = this.#computes.get(`${job.model}/${job.version}`);
      if (compute === undefined) throw new WarmlaneError('unknown-model', `the fake worker has no ${job.model}`);
      const inputs = await Promise.all(job.inputs.map((input) => this.#read(input)));
      const computed = await compute(inputs, job);
      const outputs = job.outputs.map((name) => {
        const output = computed.find((one) => one.name === name);
        if (output === undefined) throw new WarmlaneError('internal', `no output ${name}`);
        return output;
      });
      await this.#reply(request, producer, lane, shapeKey, outputs, job.answerBlobTtlMs ?? 60_000);
    } catch (error) {
      await this.#replies.answer(request, producer, { ok: false, error: WarmlaneError.from(error).toBody() });
    }
  }

  async #read({ name, dtype, dims, base64, blob }: JobTensor): Promise<NamedTensor> {
    if (base64 !== undefined) return { name, dtype, dims, data: Buffer.from(base64, 'base64') };
    const data = blob === undefined ? null : await this.#blobs.get(blob);
    if (data === null) throw new WarmlaneError('tensor-gone', `the blob of input '${name}' is gone`, 'Send it again.');
    return { name, dtype, dims, data };
  }

  async #reply(
    request: string,
    producer: string,
    lane: 'ready' | 'cold',
    shapeKey: string,
    outputs: NamedTensor[],
    ttlMs: number,
  ): Promise<void> {
    const inline = outputs.reduce((sum, output) => sum + output.data.byteLength, 0) <= ANSWER_INLINE_BYTES;
    const refs = inline ? [] : await Promise.all(outputs.map((output) => this.#blobs.put(output.data, ttlMs)));
    await this.#replies.answer(
      request,
      producer,
      {
        ok: true,
        lane,
        shapeKey,
        worker: WORKER_ID,
        timing: TIMING,
        outputs: outputs.map((output, at) => ({
          name: output.name,
          dtype: output.dtype,
          dims: output.dims,
          bytes: output.data.byteLength,
          blob: refs[at] ?? null,
        })),
      },
      outputs.map((output) => (inline ? output.data : null)),
    );
  }
}
