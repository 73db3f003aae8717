import { Inject, Injectable } from '@nestjs/common';
import type { LaneRun, NamedTensor } from '@warmlane/contracts';
import { LIMITS } from '../limits.js';
import { TRIALS, type TrialRuntime, type TrialsPort } from '../ports.js';
import type { Lane, LaneSpec } from './lane.js';
import { LaneCalls, modelParams } from './lane-calls.js';
import { LaneRecords } from './lane-records.js';
import { Verifier } from './verifier.js';

/** Tries a lane in a disposable process: its death there is a result. */
@Injectable()
export class LaneTrial {
  constructor(
    @Inject(TRIALS) private readonly trials: TrialsPort,
    @Inject(LaneRecords) private readonly records: LaneRecords,
    @Inject(Verifier) private readonly verifier: Verifier,
  ) {}

  /**
   * Every step that may kill a process, once. @returns the bytes that the lane holds. Rejects with
   * {@link isProcessDeath} where it killed the process.
   */
  async tryLane(lane: Lane): Promise<number> {
    const { samples } = await this.verifier.samplesOf(lane.spec.held, lane.spec.inputs);
    const inputs = samples[0]?.inputs ?? [];
    return await this.inTrial(async (trial) => {
      const calls = new LaneCalls(trial, lane);
      await this.records.openStep(lane, 'create');
      await calls.create();
      await this.records.openStep(lane, 'first');
      await calls.first(inputs);
      await this.records.openStep(lane, 'capture');
      await calls.capture();
      await this.records.openStep(lane, 'measure');
      await calls.run(inputs, null);
      const bytes = await calls.memory();
      await this.records.closeStep(lane);
      return bytes;
    });
  }

  /** One request's inputs alone, with the options of the model. */
  async runAlone(
    spec: Pick<LaneSpec, 'held' | 'providers' | 'options'>,
    inputs: NamedTensor[],
    outputs: string[],
    timeoutMs: number = LIMITS.run,
  ): Promise<LaneRun> {
    const { held, providers, options } = spec;
    const params = { session: 'alone', model: modelParams(held), providers, options, inputs, outputs };
    return await this.inTrial((trial) => trial.call('plain.run', params, { timeoutMs }));
  }

  private async inTrial<T>(use: (trial: TrialRuntime) => Promise<T>): Promise<T> {
    await using trial = await this.trials.open();
    return await use(trial);
  }
}
