import type {
  LaneItem,
  LaneItemsParams,
  LaneItemsRun,
  LaneRun,
  NamedTensor,
  RuntimeMethods,
} from '@warmlane/contracts';
import type { LaneHolding } from '@warmlane/lanes';
import { LIMITS, MEASURE, runsLimitMs } from '../limits.js';
import type { HeldVersion } from '../models/held-version.js';
import type { ProcessCall } from '../ports.js';
import type { Lane } from './lane.js';

/** What a runtime and a disposable one have in common. */
export interface LaneHost {
  call<K extends keyof RuntimeMethods>(
    method: K,
    params: RuntimeMethods[K]['params'],
    options: ProcessCall,
  ): Promise<RuntimeMethods[K]['result']>;
}

export function modelParams(held: HeldVersion): { path: string; digest: string } {
  return { path: held.files.modelPath, digest: held.files.digest };
}

/** The native steps of one lane in one runtime, with their limits. */
export class LaneCalls {
  constructor(
    private readonly host: LaneHost,
    private readonly lane: Lane,
  ) {}

  /** @param weightsFolder where models are prepared for lanes that share weights; undefined: weights of its own */
  async create(weightsFolder: string | undefined): Promise<RuntimeMethods['lane.create']['result']> {
    const { held, providers, fallback, options, inputs, outputs } = this.lane.spec;
    const model = modelParams(held);
    const params = { lane: this.lane.id, model, providers, fallback, options, inputs, outputs, weightsFolder };
    this.lane.sharesWeights = weightsFolder !== undefined;
    const created = await this.host.call('lane.create', params, { timeoutMs: LIMITS.create });
    this.lane.sharesWeights = created.weights.sharedBytes > 0;
    return created;
  }

  async first(inputs: NamedTensor[]): Promise<RuntimeMethods['lane.first']['result']> {
    const first = await this.host.call('lane.first', { lane: this.lane.id, inputs }, { timeoutMs: LIMITS.first });
    this.lane.firstMs = first.firstMs;
    return first;
  }

  capture(): Promise<RuntimeMethods['lane.capture']['result']> {
    return this.host.call('lane.capture', { lane: this.lane.id }, { timeoutMs: LIMITS.capture });
  }

  async measure(inputs: NamedTensor[], runs: number, budgetMs: number): Promise<number[]> {
    const params = { lane: this.lane.id, inputs, runs, budgetMs };
    const timeoutMs = runsLimitMs(budgetMs + LIMITS.measure, MEASURE.leastRuns, this.lane.firstMs);
    return (await this.host.call('lane.measure', params, { timeoutMs })).runsMs;
  }

  /** One run whose output buffers are overwritten before it. */
  async poisoned(inputs: NamedTensor[]): Promise<NamedTensor[]> {
    const params = { lane: this.lane.id, inputs, outputs: null, poison: true };
    return (await this.host.call('lane.run', params, { timeoutMs: this.runLimitMs })).outputs;
  }

  private get runLimitMs(): number {
    return runsLimitMs(LIMITS.run, 1, this.lane.firstMs);
  }

  run(inputs: NamedTensor[], outputs: string[] | null, timeoutMs: number = this.runLimitMs): Promise<LaneRun> {
    return this.host.call('lane.run', { lane: this.lane.id, inputs, outputs, poison: false }, { timeoutMs });
  }

  /** A run for a request: large outputs stay in shared memory for whoever delivers them. */
  serve(inputs: NamedTensor[], outputs: string[], timeoutMs: number): Promise<LaneRun> {
    const params = { lane: this.lane.id, inputs, outputs, poison: false, slots: true };
    return this.host.call('lane.run', params, { timeoutMs, serves: true });
  }

  /** One run of items that share it; of requests where `slots` is set, as of {@link serve}. */
  items(
    items: LaneItem[],
    { axes, outputs, poison, slots = false }: Pick<LaneItemsParams, 'axes' | 'outputs' | 'poison' | 'slots'>,
    timeoutMs: number = this.runLimitMs,
  ): Promise<LaneItemsRun> {
    const { id, spec } = this.lane;
    const params = { lane: id, items, axes, fill: spec.fill, outputs, poison, slots };
    return this.host.call('lane.items', params, { timeoutMs, serves: slots });
  }

  memory(): Promise<LaneHolding> {
    return this.host.call('lane.memory', { lane: this.lane.id }, { timeoutMs: LIMITS.memory });
  }

  async release(): Promise<void> {
    await this.host.call('lane.release', { lane: this.lane.id }, { timeoutMs: LIMITS.release });
  }
}
