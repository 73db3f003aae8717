import { type NamedTensor, newId, type ParsedOptions, type RuntimeMethods } from '@warmlane/contracts';
import type { LaneSpec } from '../lanes/lane.js';
import { modelParams } from '../lanes/lane-calls.js';
import { LIMITS } from '../limits.js';
import type { TrialProcess } from './trial-process.js';

/** What a trial has of the device. */
export interface TrialRoom {
  /** Bytes that a session may take on CUDA where no limit is given; never part of what is chosen. */
  memoryBytes: number;
  /** Where models are prepared for lanes that share weights; undefined: each has its own. */
  weightsFolder: string | undefined;
}

/** A candidate's session bound to one shape in a trial's process, step by step. */
export class TrialLane {
  private readonly id = newId();

  constructor(
    private readonly process: TrialProcess,
    private readonly spec: LaneSpec,
    private readonly options: ParsedOptions,
    private readonly room: TrialRoom,
  ) {}

  /** Session, first run of the shape, graph. @returns ms of the first run */
  async open(inputs: NamedTensor[]): Promise<number> {
    const { held, providers, fallback, inputs: specs, outputs, provider } = this.spec;
    const limit: Record<string, string> =
      provider === 'cuda' ? { gpu_mem_limit: String(Math.max(1, Math.floor(this.room.memoryBytes))) } : {};
    const options = { ...this.options, provider: { ...limit, ...this.options.provider } };
    const { weightsFolder } = this.room;
    const bound = { inputs: specs, outputs };
    const params = { lane: this.id, model: modelParams(held), providers, fallback, options, weightsFolder, ...bound };
    await this.process.call('lane.create', params, LIMITS.create);
    const { firstMs } = await this.process.call('lane.first', { lane: this.id, inputs }, LIMITS.first);
    await this.process.call('lane.capture', { lane: this.id }, LIMITS.capture);
    return firstMs;
  }

  /** One run whose output buffers are overwritten before it. */
  async poisoned(inputs: NamedTensor[]): Promise<NamedTensor[]> {
    const params = { lane: this.id, inputs, outputs: null, poison: true };
    return (await this.process.call('lane.run', params, LIMITS.first)).outputs;
  }

  /** ms of each run: as many, or as many as the budget holds, but ten at least where more are asked for. */
  async measure(inputs: NamedTensor[], runs: number, budgetMs: number): Promise<number[]> {
    const params = { lane: this.id, inputs, runs, budgetMs };
    return (await this.process.call('lane.measure', params, LIMITS.first)).runsMs;
  }

  memory(): Promise<RuntimeMethods['lane.memory']['result']> {
    return this.process.call('lane.memory', { lane: this.id }, LIMITS.memory);
  }

  async release(): Promise<void> {
    await this.process.call('lane.release', { lane: this.id }, LIMITS.release);
  }
}
