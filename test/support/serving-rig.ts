import { type AnswerHead, type ClassJob, type NamedTensor, newId, printShapeKey } from '@warmlane/contracts';
import { createQueue, createWorker, SERVING_SETTINGS, type TypedQueue } from '@warmlane/queues';
import {
  type Answer,
  BlobStore,
  classQueueName,
  coldQueueName,
  createRedis,
  HEARTBEAT_EVERY_MS,
  LaneStore,
  Liveness,
  Notices,
  RedisClock,
  ReplyReader,
  ReplyStore,
  StatsStore,
  WorkerStore,
} from '@warmlane/redis';
import type { Redis } from 'ioredis';
import { pino } from 'pino';
import type { HeldModel, ReadyLane } from '../../apps/worker/src/ports.js';
import { ServingService } from '../../apps/worker/src/serving/serving.service.js';
import { DEFAULT_SERVING_OPTIONS } from '../../apps/worker/src/serving/serving.settings.js';
import { readyDoc } from '../redis/documents.fixture.js';
import { ScriptedLanes, type ScriptedRun } from './scripted-lanes.js';

export const MODEL: HeldModel = {
  name: 'cls',
  version: '1',
  metadata: {
    inputs: [{ name: 'x', dtype: 'uint8', dims: ['N'] }],
    outputs: [{ name: 'y', dtype: 'uint8', dims: ['N'] }],
  },
  config: {},
};

/** Rows of two bytes, which may run together. */
export const ROWS: HeldModel = {
  name: 'rows',
  version: '1',
  metadata: {
    inputs: [{ name: 'x', dtype: 'uint8', dims: ['N', 2] }],
    outputs: [{ name: 'y', dtype: 'uint8', dims: ['N', 2] }],
  },
  config: { batch: { sizes: [1, 4] } },
};
const ROWS_CLASS = 'x:uint8[b,2]';

export function shapeOf(bytes: number): string {
  return printShapeKey([{ name: 'x', dtype: 'uint8', dims: [bytes] }]);
}

const BLOB_LIMIT = 256 * 2 ** 20;

/** One worker's serving part over scripted lanes, with its heartbeat and holders in Redis. */
export class ServingRig {
  readonly lanes: ScriptedLanes;
  readonly serving: ServingService;
  readonly redis: Redis;
  readonly #clock: RedisClock;
  readonly #liveness: Liveness;
  readonly stats: StatsStore;
  readonly #notices: Notices;
  readonly #workers: WorkerStore;
  readonly #laneStore: LaneStore;
  #beat: NodeJS.Timeout | null = null;
  #epoch = 0;

  private constructor(
    readonly id: string,
    url: string,
    script: (run: ScriptedRun) => Promise<Uint8Array>,
  ) {
    this.redis = createRedis(url, { name: id });
    this.#clock = new RedisClock(this.redis);
    this.#liveness = new Liveness(this.redis);
    this.stats = new StatsStore(this.redis);
    this.#notices = new Notices(this.redis);
    this.#workers = new WorkerStore(this.redis);
    this.#laneStore = new LaneStore(this.redis);
    this.lanes = new ScriptedLanes(script);
    this.serving = new ServingService({
      worker: id,
      redis: this.redis,
      clock: this.#clock,
      blobs: new BlobStore(this.redis, this.redis, { limitBytes: BLOB_LIMIT }),
      replies: new ReplyStore(this.redis),
      stats: this.stats,
      liveness: this.#liveness,
      lanes: this.lanes,
      notices: this.#notices,
      log: pino({ level: 'error' }, process.stderr),
      options: DEFAULT_SERVING_OPTIONS,
    });
  }

  static async start(id: string, url: string, script: (run: ScriptedRun) => Promise<Uint8Array>): Promise<ServingRig> {
    const rig = new ServingRig(id, url, script);
    await rig.#clock.sync();
    rig.#epoch = await rig.#workers.nextEpoch(id);
    await rig.#workers.heartbeat(id, rig.#epoch);
    rig.#beat = setInterval(() => void rig.#workers.heartbeat(id, rig.#epoch), HEARTBEAT_EVERY_MS);
    rig.serving.start();
    await rig.lanes.hold(MODEL);
    await rig.lanes.hold(ROWS);
    return rig;
  }

  /** A lane of `bytes` bytes becomes READY. */
  async ready(bytes: number): Promise<ReadyLane> {
    const shapeKey = shapeOf(bytes);
    const lane: ReadyLane = {
      id: newId(),
      model: MODEL.name,
      version: MODEL.version,
      shapeKey,
      class: shapeKey,
      inputs: [{ name: 'x', dtype: 'uint8', dims: [bytes] }],
      outputs: ['y'],
      epoch: this.#epoch,
      p50Ms: 1,
      batch: null,
      pad: null,
    };
    await this.#laneStore.ready(
      readyDoc({ id: lane.id, model: 'cls', version: '1', shapeKey, worker: this.id, epoch: this.#epoch }),
      shapeKey,
    );
    await this.lanes.ready(lane);
    return lane;
  }

  /** A lane of so many rows becomes READY, in the class of all sizes or, where its batch is not proven, of its own shape. */
  async readyRows(size: number, p50Ms: number, proven = true): Promise<ReadyLane> {
    const shapeKey = `x:uint8[${size},2]`;
    const shapeClass = proven ? ROWS_CLASS : shapeKey;
    const lane: ReadyLane = {
      id: newId(),
      model: ROWS.name,
      version: ROWS.version,
      shapeKey,
      class: shapeClass,
      inputs: [{ name: 'x', dtype: 'uint8', dims: [size, 2] }],
      outputs: ['y'],
      epoch: this.#epoch,
      p50Ms,
      batch: proven ? { axes: { inputs: { x: 0 }, outputs: { y: 0 } }, size } : null,
      pad: null,
    };
    const doc = { id: lane.id, model: ROWS.name, version: '1', shapeKey, worker: this.id, epoch: this.#epoch };
    await this.#laneStore.ready(readyDoc(doc), shapeClass);
    await this.lanes.ready(lane);
    return lane;
  }

  /** The runtime dies: a new epoch, no lanes. */
  async runtimeDies(): Promise<void> {
    this.lanes.die();
    this.#epoch = await this.#workers.nextEpoch(this.id);
  }

  async close(): Promise<void> {
    if (this.#beat !== null) clearInterval(this.#beat);
    await this.serving.close(10_000);
    this.#notices.close();
    this.#liveness.close();
    this.#clock.close();
    await this.stats.close();
    this.redis.disconnect();
  }
}

/** A worker that takes one job of a class that it holds READY, and dies with it: no heartbeat, no renewal, no answer. */
export class DyingHolder {
  private constructor(
    readonly holdsJob: Promise<void>,
    private readonly end: () => void,
  ) {}

  static async start(id: string, url: string, shapeKey: string): Promise<DyingHolder> {
    const redis = createRedis(url, { name: id });
    const workers = new WorkerStore(redis);
    const epoch = await workers.nextEpoch(id);
    await new LaneStore(redis).ready(readyDoc({ model: 'cls', version: '1', shapeKey, worker: id, epoch }), shapeKey);
    const beat = setInterval(() => void workers.heartbeat(id, epoch), HEARTBEAT_EVERY_MS);
    let took = (): void => undefined;
    const holdsJob = new Promise<void>((resolve) => {
      took = resolve;
    });
    const worker = createWorker<ClassJob, void>(
      classQueueName(MODEL.name, MODEL.version, shapeKey),
      () => {
        took();
        return new Promise(() => undefined);
      },
      { redis, settings: SERVING_SETTINGS, concurrency: 1, holder: id },
    );
    return new DyingHolder(holdsJob, () => {
      clearInterval(beat);
      void worker.close(true).finally(() => redis.disconnect());
    });
  }

  die(): void {
    this.end();
  }
}

type SendOptions = Partial<ClassJob> & { cold?: boolean; deadlineMs?: number; jobId?: string };

/** A producer as bare as can be: it says itself which queue a request goes to. */
export class RigProducer {
  readonly redis: Redis;
  readonly clock: RedisClock;
  readonly blobs: BlobStore;
  readonly #reader: ReplyReader;
  readonly #queues = new Map<string, TypedQueue<ClassJob>>();
  readonly #id = newId();

  private constructor(url: string) {
    this.redis = createRedis(url, { name: 'producer' });
    this.clock = new RedisClock(this.redis);
    this.blobs = new BlobStore(this.redis, this.redis, { limitBytes: BLOB_LIMIT });
    this.#reader = new ReplyReader(this.redis, new ReplyStore(this.redis), this.#id);
  }

  static async start(url: string): Promise<RigProducer> {
    const producer = new RigProducer(url);
    await producer.clock.sync();
    return producer;
  }

  /** Adds a request for `data` and resolves with its answer. */
  async send(data: Uint8Array, over: SendOptions = {}): Promise<Answer> {
    const { cold = false, deadlineMs = 20_000, jobId, ...rest } = over;
    const shapeKey = shapeOf(data.byteLength);
    const queue = this.queue(
      cold
        ? coldQueueName(over.model ?? MODEL.name, MODEL.version)
        : classQueueName(over.model ?? MODEL.name, MODEL.version, over.shapeClass ?? shapeKey),
    );
    const request = over.request ?? newId();
    const now = this.clock.now();
    const answer = new Promise<Answer>((resolve) => this.#reader.expect(request, resolve));
    const input: NamedTensor = { name: 'x', dtype: 'uint8', dims: [data.byteLength], data };
    const job: ClassJob = {
      v: 1,
      request,
      producer: this.#id,
      model: MODEL.name,
      version: MODEL.version,
      shapeKey,
      inputs: [{ name: 'x', dtype: 'uint8', dims: input.dims, base64: Buffer.from(data).toString('base64') }],
      outputs: ['y'],
      deadlineAt: now + deadlineMs,
      enqueuedAt: now,
      priority: 5,
      repeat: false,
      ...rest,
    };
    await queue.add('infer', job, { jobId: jobId ?? request });
    return answer;
  }

  /** Adds a request for rows of two bytes to their class's queue. */
  async sendRows(data: Uint8Array, over: SendOptions = {}): Promise<Answer> {
    const dims = [data.byteLength / 2, 2];
    const base64 = Buffer.from(data).toString('base64');
    return this.send(data, {
      model: ROWS.name,
      shapeKey: `x:uint8[${dims.join(',')}]`,
      shapeClass: ROWS_CLASS,
      inputs: [{ name: 'x', dtype: 'uint8', dims, base64 }],
      ...over,
    });
  }

  queue(name: string): TypedQueue<ClassJob> {
    const queue = this.#queues.get(name) ?? createQueue<ClassJob>(name, { redis: this.redis });
    this.#queues.set(name, queue);
    return queue;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#queues.values()].map((queue) => queue.close()));
    await this.#reader.close();
    this.clock.close();
    this.redis.disconnect();
  }
}

/** The head of an answer that must be a success. */
export function success(answer: Answer): Extract<AnswerHead, { ok: true }> {
  if (!answer.head.ok) throw new Error(`expected an answer, got ${JSON.stringify(answer.head.error)}`);
  return answer.head;
}

/** The code of an answer that must be an error. */
export function failure(answer: Answer): string {
  if (answer.head.ok) throw new Error('expected an error, got an answer');
  return answer.head.error.code;
}
