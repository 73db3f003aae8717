import {
  type BatchAxes,
  batchClassOf,
  type LaneItem,
  type LaneItemsRun,
  type LaneRun,
  modelConfigSchema,
  type NamedTensor,
  newId,
  WarmlaneError,
} from '@warmlane/contracts';
import { createLogger } from '@warmlane/observability';
import {
  BlobStore,
  createRedis,
  HEARTBEAT_EVERY_MS,
  LaneStore,
  Liveness,
  ModelStore,
  RedisClock,
  ReplyStore,
  StatsStore,
  WorkerStore,
} from '@warmlane/redis';
import type { FallbackRun, HeldModel, LaneListener, LanesPort, ReadyLane } from '../../../apps/worker/dist/ports.js';
import { ServingService } from '../../../apps/worker/dist/serving/serving.service.js';
import { DEFAULT_SERVING_OPTIONS } from '../../../apps/worker/dist/serving/serving.settings.js';
import { type CalibratedLoad, type CalibratedSettings, dimsOf, MODEL, shapeOf, VERSION } from './calibrated-model.js';

/** A device that takes exactly so long for a run, one at a time, whatever the timers do. */
class Device {
  #freeAt = 0;
  /** Time for which it ran, and items. */
  busyMs = 0;
  items = 0;

  constructor(
    private readonly costMs: number,
    private readonly itemMs = 0,
  ) {}

  costOf(size: number): number {
    return this.costMs + (size - 1) * this.itemMs;
  }

  async run(items = 1, size = items): Promise<void> {
    const costMs = this.costOf(size);
    this.#freeAt = Math.max(this.#freeAt, performance.now()) + costMs;
    this.busyMs += costMs;
    this.items += items;
    const waitMs = this.#freeAt - performance.now();
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, waitMs)));
  }
}

/** Lanes and a fallback of known cost instead of a runtime: all else of the worker's serving part is the real one. */
class CalibratedLanes implements LanesPort {
  readonly #lane: Device;
  readonly #fallback: Device;
  readonly #lanes: ReadyLane[];

  constructor(
    settings: CalibratedSettings,
    private readonly model: HeldModel,
    lanes: ReadyLane[],
  ) {
    this.#lane = new Device(settings.laneMs, settings.batches?.itemMs);
    this.#fallback = new Device(settings.fallbackMs);
    this.#lanes = lanes;
  }

  listen(listener: LaneListener): void {
    void listener.modelHeld(this.model);
    for (const lane of this.#lanes) void listener.laneReady(lane);
  }

  serving(): ReadyLane[] {
    return this.#lanes;
  }

  async runOn(_lane: string, inputs: NamedTensor[]): Promise<LaneRun> {
    await this.#lane.run();
    return answer(inputs);
  }

  async runItems(lane: string, items: LaneItem[]): Promise<LaneItemsRun> {
    const size = this.#lanes.find(({ id }) => id === lane)?.batch?.size ?? 1;
    await this.#lane.run(items.length, size);
    return { items: items.map(({ inputs }) => answer(inputs).outputs), copyMs: 0, computeMs: 0 };
  }

  get done(): Pick<CalibratedLoad, 'items' | 'busyMs'> {
    const { items, busyMs } = this.#lane;
    return { items, busyMs };
  }

  observe(): void {}

  async fallbackRun(_model: string, _version: string, inputs: NamedTensor[]): Promise<FallbackRun> {
    await this.#fallback.run();
    return { ...answer(inputs), servedBy: 'cpu' };
  }

  async trialRun(): Promise<LaneRun> {
    throw new WarmlaneError('not-supported', 'a calibrated worker has no disposable runtime', 'Nothing dies here.');
  }
}

function answer(inputs: readonly NamedTensor[]): LaneRun {
  const { dims, data } = inputs[0] ?? { dims: [0], data: new Uint8Array() };
  return {
    outputs: [{ name: 'y', dtype: 'uint8', dims, data }],
    copyMs: 0,
    computeMs: 0,
  };
}

function lanesOf({ classes, laneMs, batches }: CalibratedSettings, epoch: number): ReadyLane[] {
  const axes: BatchAxes = { inputs: { x: 0 }, outputs: { y: 0 } };
  const sizes = batches?.sizes ?? [undefined];
  return Array.from({ length: classes }, (_, n) => n + 1).flatMap((bytes) =>
    sizes.map((size): ReadyLane => {
      const inputs = [{ name: 'x', dtype: 'uint8' as const, dims: dimsOf(bytes, size) }];
      const shapeKey = shapeOf(bytes, size);
      return {
        id: newId(),
        model: MODEL,
        version: VERSION,
        shapeKey,
        class: size === undefined ? shapeKey : batchClassOf(axes, inputs),
        inputs,
        outputs: ['y'],
        epoch,
        p50Ms: laneMs + ((size ?? 1) - 1) * (batches?.itemMs ?? 0),
        batch: size === undefined ? null : { axes, size },
        pad: null,
      };
    }),
  );
}

/** Started as `calibrated-worker.js REDIS SETTINGS`; says `ready` over its channel once its lanes are READY. */
async function main(): Promise<void> {
  const [url = '', text = '{}'] = process.argv.slice(2);
  const settings = JSON.parse(text) as CalibratedSettings;
  const log = createLogger({ role: 'worker', level: 'error' });
  const redis = createRedis(url, { name: 'calibrated' });
  const clock = new RedisClock(redis);
  await clock.sync();
  const worker = 'calibrated-0';
  const workers = new WorkerStore(redis);
  const epoch = await workers.nextEpoch(worker);
  await workers.heartbeat(worker, epoch);
  setInterval(() => void workers.heartbeat(worker, epoch), HEARTBEAT_EVERY_MS);
  const model = await new ModelStore(redis).get(MODEL, VERSION);
  if (model?.metadata === null || model === null) throw new Error('register the calibrated model first');
  const lanes = lanesOf(settings, epoch);
  const store = new LaneStore(redis);
  for (const { id, shapeKey, class: shapeClass } of lanes) {
    const since = new Date().toISOString();
    const doc = { id, model: MODEL, version: VERSION, shapeKey, state: 'READY' as const, since, reason: '', worker };
    await store.ready({ ...doc, trigger: 'plan', epoch, record: null }, shapeClass);
  }
  const config = modelConfigSchema.parse(
    settings.batches === undefined ? {} : { batch: { sizes: settings.batches.sizes } },
  );
  const port = new CalibratedLanes(
    settings,
    { name: MODEL, version: VERSION, metadata: model.metadata, config },
    lanes,
  );
  const serving = new ServingService({
    worker,
    redis,
    clock,
    blobs: new BlobStore(redis, redis, { limitBytes: 2 ** 30 }),
    replies: new ReplyStore(redis),
    stats: new StatsStore(redis),
    liveness: new Liveness(redis),
    lanes: port,
    log,
    options: DEFAULT_SERVING_OPTIONS,
  });
  serving.start();
  process.on('message', () => process.send?.({ ...serving.load, ...port.done }));
  process.on('disconnect', () => process.exit(0));
  process.send?.('ready');
}

await main();
