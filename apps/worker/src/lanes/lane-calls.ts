import type { LaneRun, NamedTensor, RuntimeMethods } from '@warmlane/contracts';
import { LIMITS } from '../limits.js';
import type { HeldVersion } from '../models/held-version.js';
import type { Lane } from './lane.js';

/** What a runtime and a disposable one have in common. */
export interface LaneHost {
  call<K extends keyof RuntimeMethods>(
    method: K,
    params: RuntimeMethods[K]['params'],
    options: { timeoutMs: number },
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

  create(): Promise<RuntimeMethods['lane.create']['result']> {
    const { held, providers, fallback, options, inputs, outputs } = this.lane.spec;
    const params = { lane: this.lane.id, model: modelParams(held), providers, fallback, options, inputs, outputs };
    return this.host.call('lane.create', params, { timeoutMs: LIMITS.create });
  }

  first(inputs: NamedTensor[]): Promise<RuntimeMethods['lane.first']['result']> {
    return this.host.call('lane.first', { lane: this.lane.id, inputs }, { timeoutMs: LIMITS.first });
  }

  capture(): Promise<RuntimeMethods['lane.capture']['result']> {
    return this.host.call('lane.capture', { lane: this.lane.id }, { timeoutMs: LIMITS.capture });
  }

  async measure(inputs: NamedTensor[], runs: number, budgetMs: number): Promise<number[]> {
    const params = { lane: this.lane.id, inputs, runs, budgetMs };
    return (await this.host.call('lane.measure', params, { timeoutMs: budgetMs + LIMITS.measure })).runsMs;
  }

  /** One run whose output buffers are overwritten before it. */
  async poisoned(inputs: NamedTensor[]): Promise<NamedTensor[]> {
    const params = { lane: this.lane.id, inputs, outputs: null, poison: true };
    return (await this.host.call('lane.run', params, { timeoutMs: LIMITS.run })).outputs;
  }

  run(inputs: NamedTensor[], outputs: string[] | null, timeoutMs: number = LIMITS.run): Promise<LaneRun> {
    return this.host.call('lane.run', { lane: this.lane.id, inputs, outputs, poison: false }, { timeoutMs });
  }

  async memory(): Promise<number> {
    return (await this.host.call('lane.memory', { lane: this.lane.id }, { timeoutMs: LIMITS.memory })).bytes;
  }

  async release(): Promise<void> {
    await this.host.call('lane.release', { lane: this.lane.id }, { timeoutMs: LIMITS.release });
  }
}
