import type { LaneItem, LaneItemsRun, LaneRun, NamedTensor } from '@warmlane/contracts';
import { WarmlaneError } from '@warmlane/contracts';
import type {
  FallbackRun,
  HeldModel,
  LaneListener,
  LanesPort,
  ProcessDown,
  ReadyLane,
} from '../../apps/worker/src/ports.js';
import { processDeath } from '../../apps/worker/src/ports.js';

export interface ScriptedRun {
  on: 'lane' | 'fallback' | 'trial';
  laneId: string | null;
  inputs: NamedTensor[];
  /** Requests that share the run; 1 where it is one alone. */
  together: number;
}

/** What a lane manager does, without a device: each run does what the test's script says, and lanes come and go by call. */
export class ScriptedLanes implements LanesPort {
  readonly runs: ScriptedRun[] = [];
  readonly observed: string[] = [];
  #lanes = new Map<string, ReadyLane>();
  #models: HeldModel[] = [];
  #listener: LaneListener | null = null;

  /** @param script resolves with the output's bytes, or rejects as the run should */
  constructor(private readonly script: (run: ScriptedRun) => Promise<Uint8Array>) {}

  listen(listener: LaneListener): void {
    this.#listener = listener;
    for (const model of this.#models) void listener.modelHeld(model);
    for (const lane of this.#lanes.values()) void listener.laneReady(lane);
  }

  serving(): ReadyLane[] {
    return [...this.#lanes.values()];
  }

  async hold(model: HeldModel): Promise<void> {
    this.#models.push(model);
    await this.#listener?.modelHeld(model);
  }

  async ready(lane: ReadyLane): Promise<void> {
    this.#lanes.set(lane.id, lane);
    await this.#listener?.laneReady(lane);
  }

  async leave(id: string): Promise<void> {
    const lane = this.#lanes.get(id);
    if (lane === undefined) return;
    await this.#listener?.laneLeaving(lane);
    this.#lanes.delete(id);
  }

  /** The runtime is gone and every lane with it. */
  die(): void {
    const lanes = [...this.#lanes.values()];
    this.#lanes.clear();
    for (const lane of lanes) this.#listener?.laneGone(lane);
  }

  async runOn(laneId: string, inputs: NamedTensor[], outputs: string[]): Promise<LaneRun> {
    if (!this.#lanes.has(laneId)) throw new WarmlaneError('not-ready', `lane ${laneId} is gone`);
    return this.#run({ on: 'lane', laneId, inputs, together: 1 }, outputs);
  }

  /** The script is asked once for each item; the first failure is that of the whole run. */
  async runItems(laneId: string, items: LaneItem[], outputs: string[]): Promise<LaneItemsRun> {
    if (!this.#lanes.has(laneId)) throw new WarmlaneError('not-ready', `lane ${laneId} is gone`);
    const together = items.length;
    const runs = await Promise.all(
      items.map(({ inputs }) => this.#run({ on: 'lane', laneId, inputs, together }, outputs)),
    );
    return { items: runs.map((run) => run.outputs), copyMs: 0, computeMs: 1 };
  }

  observe(laneId: string): void {
    this.observed.push(laneId);
  }

  async fallbackRun(_model: string, _version: string, inputs: NamedTensor[], outputs: string[]): Promise<FallbackRun> {
    return { ...(await this.#run({ on: 'fallback', laneId: null, inputs, together: 1 }, outputs)), servedBy: 'cpu' };
  }

  async trialRun(_model: string, _version: string, inputs: NamedTensor[], outputs: string[]): Promise<LaneRun> {
    return this.#run({ on: 'trial', laneId: null, inputs, together: 1 }, outputs);
  }

  async #run(run: ScriptedRun, outputs: string[]): Promise<LaneRun> {
    this.runs.push(run);
    const data = await this.script(run);
    return {
      outputs: outputs.map((name) => ({
        name,
        dtype: 'uint8',
        // As long as its input is wide: what is a batch comes out as one.
        dims: run.inputs[0]?.dims.length === 2 ? [data.byteLength / 2, 2] : [data.byteLength],
        data,
      })),
      copyMs: 0,
      computeMs: 1,
    };
  }
}

/** The error of a call whose process died. */
export function death(external: boolean): WarmlaneError {
  const down: ProcessDown = {
    code: null,
    signal: 'SIGKILL',
    external,
    planned: false,
    serving: false,
    reason: 'killed by SIGKILL',
  };
  return Object.assign(new WarmlaneError('worker-gone', 'the runtime died'), { [processDeath]: down });
}
