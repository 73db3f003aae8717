import { type LaneItemsRun, type LaneRun, type NamedTensor, newId, WarmlaneError } from '@warmlane/contracts';
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
import { type CalibratedSettings, MODEL, shapeOf, VERSION } from './calibrated-model.js';

/** A device that takes exactly so long for a run, one at a time, whatever the timers do. */
class Device {
  #freeAt = 0;

  constructor(private readonly costMs: number) {}

  async run(): Promise<void> {
    this.#freeAt = Math.max(this.#freeAt, performance.now()) + this.costMs;
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
    this.#lane = new Device(settings.laneMs);
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

  async runItems(): Promise<LaneItemsRun> {
    throw new WarmlaneError('not-supported', 'a calibrated lane takes one request at a time', 'Declare no batch.');
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
  const data = inputs[0]?.data ?? new Uint8Array();
  return {
    outputs: [{ name: 'y', dtype: 'uint8', dims: [data.byteLength], data }],
    copyMs: 0,
    computeMs: 0,
  };
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
  const lanes = Array.from({ length: settings.classes }, (_, n): ReadyLane => {
    const shapeKey = shapeOf(n + 1);
    const inputs = [{ name: 'x', dtype: 'uint8' as const, dims: [n + 1] }];
    const lane = { id: newId(), model: MODEL, version: VERSION, shapeKey, class: shapeKey, inputs, outputs: ['y'] };
    return { ...lane, epoch, p50Ms: settings.laneMs, batch: null, pad: null };
  });
  const store = new LaneStore(redis);
  for (const { id, shapeKey } of lanes) {
    const since = new Date().toISOString();
    const doc = { id, model: MODEL, version: VERSION, shapeKey, state: 'READY' as const, since, reason: '', worker };
    await store.ready({ ...doc, trigger: 'plan', epoch, record: null }, shapeKey);
  }
  const serving = new ServingService({
    worker,
    redis,
    clock,
    blobs: new BlobStore(redis, redis, { limitBytes: 2 ** 30 }),
    replies: new ReplyStore(redis),
    stats: new StatsStore(redis),
    liveness: new Liveness(redis),
    lanes: new CalibratedLanes(
      settings,
      { name: MODEL, version: VERSION, metadata: model.metadata, config: {} },
      lanes,
    ),
    log,
    options: DEFAULT_SERVING_OPTIONS,
  });
  serving.start();
  process.on('message', () => process.send?.(serving.load));
  process.on('disconnect', () => process.exit(0));
  process.send?.('ready');
}

await main();
