import { Inject, Injectable } from '@nestjs/common';
import type { LaneRun, NamedTensor } from '@warmlane/contracts';
import type { LaneHolding } from '@warmlane/lanes';
import { LIMITS } from '../limits.js';
import { TRIALS, type TrialRuntime, type TrialsPort } from '../ports.js';
import type { Lane, LaneSpec } from './lane.js';
import { LaneCalls, modelParams } from './lane-calls.js';
import { LaneMemory } from './lane-memory.js';
import { LaneRecords } from './lane-records.js';
import { LoneRuns } from './lone-runs.js';
import { TrialTurn } from './trial-turn.js';
import { Verifier } from './verifier.js';

/** Tries a lane in a disposable process: its death there is a result. */
@Injectable()
export class LaneTrial {
  /** Kept from one measured lane to the next: a CUDA process takes seconds to start. */
  private shared: TrialRuntime | null = null;
  private readonly loneRuns: LoneRuns;

  constructor(
    @Inject(TRIALS) private readonly trials: TrialsPort,
    @Inject(LaneRecords) private readonly records: LaneRecords,
    @Inject(Verifier) private readonly verifier: Verifier,
    @Inject(LaneMemory) private readonly memory: LaneMemory,
    @Inject(TrialTurn) private readonly turn: TrialTurn,
  ) {
    this.loneRuns = new LoneRuns(trials);
  }

  /**
   * Every step that may kill a process, once. @returns what the lane holds. Rejects with
   * `isProcessDeath` where it killed the process.
   * @param alone in a process of its own, for a lane under suspicion; else in one that measures lane after lane
   */
  async tryLane(lane: Lane, { alone }: { alone: boolean }): Promise<LaneHolding> {
    return await this.turn.take(() => this.tryNow(lane, alone));
  }

  private async tryNow(lane: Lane, alone: boolean): Promise<LaneHolding> {
    if (alone) {
      await using trial = await this.trials.open();
      return await this.steps(lane, trial);
    }
    this.shared ??= await this.trials.open();
    try {
      return await this.steps(lane, this.shared);
    } catch (thrown) {
      // What a failure left in it would be measured with the next lane.
      await this.closeShared();
      throw thrown;
    }
  }

  /** Ends the shared process, if there is one. */
  async closeShared(): Promise<void> {
    const { shared } = this;
    this.shared = null;
    await shared?.[Symbol.asyncDispose]();
  }

  private async steps(lane: Lane, trial: TrialRuntime): Promise<LaneHolding> {
    const { samples } = await this.verifier.samplesOf(lane.spec.held, lane.spec.inputs);
    const inputs = samples[0]?.inputs ?? [];
    const calls = new LaneCalls(trial, lane);
    await this.records.openStep(lane, 'create');
    await calls.create(this.memory.weightsFolder(lane));
    await this.records.openStep(lane, 'first');
    await calls.first(inputs);
    await this.records.openStep(lane, 'capture');
    await calls.capture();
    await this.records.openStep(lane, 'measure');
    await calls.run(inputs, null);
    const holding = await calls.memory();
    await calls.release();
    await this.records.closeStep(lane);
    return holding;
  }

  /** One request's inputs alone, with the options of the model. Rejects with `isProcessDeath` as well. */
  async runAlone(
    spec: Pick<LaneSpec, 'held' | 'providers' | 'options'>,
    inputs: NamedTensor[],
    outputs: string[],
    timeoutMs: number = LIMITS.run,
  ): Promise<LaneRun> {
    const { held, providers, options } = spec;
    const model = modelParams(held);
    // A process that is used again may know the model under other options.
    const session = JSON.stringify([model.digest, providers, options]);
    return await this.loneRuns.run({ session, model, providers, options, inputs, outputs }, timeoutMs);
  }
}
