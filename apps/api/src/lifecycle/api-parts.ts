import type { Provider } from '@nestjs/common';
import { placeLane } from '@warmlane/lanes';
import { type Logger, StallMonitor } from '@warmlane/observability';
import { EntryDispatcher, Producer, UnservedQueues, WarmupCoordinator } from '@warmlane/queues';
import {
  BlobStore,
  IdempotencyStore,
  InferenceStore,
  LaneStore,
  Liveness,
  ModelStore,
  Notices,
  Outage,
  PlanStore,
  RedisClock,
  StatsStore,
  TuningStore,
  WorkerStore,
} from '@warmlane/redis';
import { SharedMemory } from '@warmlane/shm';
import { CodecPool } from '../codec/codec-pool.js';
import type { ApiConfig } from '../config/api.config.js';
import { FirstLoad } from '../fleet/first-load.js';
import { RedisGate } from '../fleet/redis.gate.js';
import type { BytesInFlight } from '../http/bytes-in-flight.js';
import { ApiMetrics } from '../metrics/api.metrics.js';
import { InferenceCounts } from '../metrics/inference-counts.js';
import { RedisClients } from '../redis/redis.clients.js';
import { EventStreams } from '../rest/event-streams.js';
import type { CloseStep } from './close-within.js';
import { InFlight } from './in-flight.js';

/** Tensors in flight may take this much of Redis together. */
const BLOB_LIMIT_BYTES = 2 * 2 ** 30;
const REDIS_WAIT_MS = 2_000;
const STALL_THRESHOLD_MS = 200;
const STALL_LOOK_MS = 20;

/** What the API is made of beside its controllers: made by hand, because the order of starting and closing matters. */
export class ApiParts {
  readonly metrics = new ApiMetrics();
  readonly codec = new CodecPool();
  readonly streams = new EventStreams();
  readonly inFlight = new InFlight();
  readonly producer: Producer;
  readonly coordinator: WarmupCoordinator;
  readonly counts: InferenceCounts;
  readonly #dispatcher: EntryDispatcher;
  readonly #unserved: UnservedQueues;
  readonly #blobs: BlobStore;
  readonly #stalls: StallMonitor;
  readonly #redis: RedisClients;
  readonly #gate: RedisGate;
  readonly #notices: Notices;
  readonly #liveness: Liveness;
  readonly #workers: WorkerStore;
  readonly #firstLoad: FirstLoad;
  readonly #stats: StatsStore;
  readonly #clock: RedisClock;
  readonly #memory: SharedMemory;

  constructor(
    config: ApiConfig,
    private readonly log: Logger,
  ) {
    this.#redis = new RedisClients({ main: config.redisUrl, blobs: config.blobRedisUrl }, log);
    const { main, blobs } = this.#redis;
    this.#gate = new RedisGate(main);
    this.#notices = new Notices(main, log);
    this.#liveness = new Liveness(main);
    this.#workers = new WorkerStore(main);
    this.#firstLoad = new FirstLoad(this.#gate, this.#workers, this.#liveness);
    this.#stats = new StatsStore(main, log);
    this.#clock = new RedisClock(main);
    this.#stalls = new StallMonitor({ thresholdMs: STALL_THRESHOLD_MS, intervalMs: STALL_LOOK_MS, log });
    this.#memory = new SharedMemory({ ...config.sharedMemory, log });
    this.producer = new Producer({
      redis: main,
      blobRedis: blobs,
      sameRedis: config.redisUrl === config.blobRedisUrl,
      blobLimitBytes: BLOB_LIMIT_BYTES,
      classLimit: config.classLimit,
      memory: this.#memory,
      onTensor: ({ way, direction }) => this.metrics.tensor(way, direction),
      logger: log,
    });
    this.coordinator = new WarmupCoordinator({
      redis: main,
      liveness: this.#liveness,
      notices: this.#notices,
      place: placeLane,
      logger: log,
    });
    this.#unserved = new UnservedQueues({ redis: main, logger: log });
    this.counts = new InferenceCounts(this.metrics, this.#stats, (model, version) =>
      this.#gate.use(() => this.producer.resolve(model, version)),
    );
    this.#blobs = new BlobStore(blobs, main, { limitBytes: BLOB_LIMIT_BYTES });
    this.#dispatcher = new EntryDispatcher({
      redis: main,
      producer: this.producer,
      coordinator: this.coordinator,
      firstLoad: this.#firstLoad,
      blobs: this.#blobs,
      onServed: (served) => this.counts.served(served, served.timing.totalMs),
      onFailed: ({ code, model, version, elapsedMs }) => this.counts.failed(code, model, version, elapsedMs),
      logger: log,
    });
  }

  /** Everything that a controller or service may ask for, by its class. */
  providers(): Provider[] {
    const { main } = this.#redis;
    return [
      { provide: ApiMetrics, useValue: this.metrics },
      { provide: InferenceCounts, useValue: this.counts },
      { provide: CodecPool, useValue: this.codec },
      { provide: EventStreams, useValue: this.streams },
      { provide: InFlight, useValue: this.inFlight },
      { provide: Producer, useValue: this.producer },
      { provide: WarmupCoordinator, useValue: this.coordinator },
      { provide: StallMonitor, useValue: this.#stalls },
      { provide: FirstLoad, useValue: this.#firstLoad },
      { provide: RedisGate, useValue: this.#gate },
      { provide: Notices, useValue: this.#notices },
      { provide: Liveness, useValue: this.#liveness },
      { provide: StatsStore, useValue: this.#stats },
      { provide: ModelStore, useValue: new ModelStore(main) },
      { provide: PlanStore, useValue: new PlanStore(main) },
      { provide: LaneStore, useValue: new LaneStore(main) },
      { provide: IdempotencyStore, useValue: new IdempotencyStore(main) },
      { provide: InferenceStore, useValue: new InferenceStore(main) },
      { provide: RedisClock, useValue: this.#clock },
      { provide: BlobStore, useValue: this.#blobs },
      { provide: TuningStore, useValue: new TuningStore(main) },
      { provide: WorkerStore, useValue: this.#workers },
    ];
  }

  watch(bytes: BytesInFlight): void {
    this.metrics.watch({
      bytesInFlight: () => bytes.used,
      stallMaxMs: () => this.#stalls.maxMs,
      redisUp: () => Outage.of(this.#redis.main).connected,
      sharedBytes: () => this.#memory.bytes,
    });
  }

  /**
   * Resolves when Redis is there, so that the first request finds it; or after 2 s: it may be away for long, and the API
   * answers 503 meanwhile.
   */
  async start(): Promise<void> {
    const started = this.#startAll().catch((error: unknown) => {
      this.log.error({ err: error }, 'the queues could not be started; start the API again');
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, REDIS_WAIT_MS);
    });
    await Promise.race([started, late]);
    clearTimeout(timer);
  }

  /** The dispatcher last: it takes jobs at once, and the others answer them. */
  async #startAll(): Promise<void> {
    this.#unserved.start();
    await Promise.all([this.producer.start(), this.#clock.sync(), this.coordinator.start()]);
    await this.#dispatcher.start();
  }

  /** Once the start's own work is done: loading the program stands still for hundreds of milliseconds. */
  watchEventLoop(): void {
    this.#stalls.start();
  }

  /** Waits for the requests in flight; without Redis hardly any of them gets its answer. @returns how many are left */
  drained(limitMs: number): Promise<number> {
    const outage = Outage.of(this.#redis.main);
    return this.inFlight.drained({ limitMs, awayLimitMs: REDIS_WAIT_MS, canAnswer: () => outage.connected });
  }

  /** In this order: nothing that is closed is needed by what closes later. */
  closeSteps(): CloseStep[] {
    return [
      { name: 'dispatcher', limitMs: 500, close: () => this.#dispatcher.close() },
      { name: 'warm-ups', limitMs: 500, close: () => this.coordinator.close() },
      { name: 'producer', limitMs: 500, close: () => this.producer.close() },
      {
        name: 'shared memory',
        limitMs: 100,
        close: () => this.#memory.close(),
      },
      { name: 'statistics', limitMs: 300, close: () => this.#stats.close() },
      { name: 'codec', limitMs: 300, close: () => this.codec.close() },
      {
        name: 'redis',
        limitMs: 200,
        close: () => {
          this.#stalls.stop();
          this.#unserved.close();
          this.#clock.close();
          this.#liveness.close();
          this.#notices.close();
          this.#redis.close();
        },
      },
    ];
  }
}
