import { setTimeout as delay } from 'node:timers/promises';
import { type ClassJob, type ErrorCode, type LaneRun, type NamedTensor, WarmlaneError } from '@warmlane/contracts';
import type { RedisClock } from '@warmlane/redis';
import { isProcessDeath, type LanesPort, type ReadyLane } from '../ports.js';
import { LaneIndex, laneKey } from './lane-index.js';
import { Pipeline } from './pipeline.js';
import { Pump } from './pump.js';
import {
  AHEAD_BELOW_MS,
  FALLBACK_DEPTH,
  LANE_DEPTH,
  LIMIT_FACTOR,
  RETRY_START_MS,
  type ServingOptions,
} from './serving.settings.js';
import type { Suspects } from './suspects.js';
import { Trials } from './trials.js';
import { deadlineExceeded, Reroute, type Served, type Work } from './work.js';

/**
 * Runs requests: on the lane of their shape where one serves, else on the fallback, and alone in a disposable runtime
 * where a runtime died under them. A request is routed anew as often as lanes come and go, until its deadline.
 */
export class Executor {
  readonly #lanes = new LaneIndex();
  readonly #onLanes: Pump<Work>;
  readonly #onFallback: Pump<Work>;
  readonly #pipeline = new Pipeline();
  readonly #trials: Trials;

  constructor(
    private readonly port: LanesPort,
    private readonly clock: RedisClock,
    private readonly suspects: Suspects,
    private readonly options: ServingOptions,
  ) {
    const now = () => clock.now();
    this.#onLanes = new Pump<Work>({
      depth: LANE_DEPTH,
      aheadBelowMs: AHEAD_BELOW_MS,
      costMs: (work) => this.#lanes.pick(work.key)?.p50Ms ?? 0,
      now,
      run: (work) => this.#runOnLane(work),
    });
    this.#onFallback = new Pump<Work>({
      depth: FALLBACK_DEPTH,
      aheadBelowMs: 0,
      costMs: () => 0,
      now,
      run: (work) => this.#runOnFallback(work),
    });
    this.#trials = new Trials(port, clock, suspects, options);
  }

  /**
   * Rejects with the WarmlaneError that answers the request: `deadline-exceeded`, `poison`, or what the run failed with.
   *
   * @param arrivedAt when the job became active here, Redis TIME in ms
   * @param again the job ran before: it may be under suspicion
   */
  async execute(request: ClassJob, inputs: NamedTensor[], arrivedAt: number, again: boolean): Promise<Served> {
    let suspect = again && (await this.suspects.deaths(request.request)) !== null;
    for (;;) {
      if (request.deadlineAt <= this.clock.now()) throw deadlineExceeded(request);
      if (suspect) return await this.#trials.run(request, inputs);
      try {
        return await this.#route(request, inputs, arrivedAt);
      } catch (thrown) {
        if (!(thrown instanceof Reroute)) throw thrown;
        suspect = thrown.suspect;
        if (suspect) await this.suspects.suspect(request.request);
      }
    }
  }

  addLane(lane: ReadyLane): void {
    this.#lanes.add(lane);
    const key = laneKey(lane);
    for (const work of this.#onFallback.takeWhere((one) => one.key === key)) work.failed(new Reroute(false));
  }

  laneMeasured(id: string, p50Ms: number): void {
    this.#lanes.measured(id, p50Ms);
  }

  /**
   * The lane serves no more; waiting work of its shape goes to another lane or the fallback. Resolves once nothing runs on
   * it.
   */
  removeLane(id: string): Promise<void> {
    const idle = this.#lanes.remove(id);
    for (const work of this.#onLanes.takeWhere((one) => !this.#lanes.has(one.key))) work.failed(new Reroute(false));
    return idle;
  }

  /** Fails what waits past its deadline. */
  sweep(): void {
    for (const pump of [this.#onLanes, this.#onFallback]) {
      for (const work of pump.takeExpired()) work.failed(deadlineExceeded(work.request));
    }
  }

  #route(request: ClassJob, inputs: NamedTensor[], arrivedAt: number): Promise<Served> {
    const key = laneKey(request);
    const pump = this.#lanes.has(key) ? this.#onLanes : this.#onFallback;
    return new Promise<Served>((done, failed) => {
      pump.add({
        class: key,
        arrivedAt,
        deadlineAt: request.deadlineAt,
        priority: request.priority,
        request,
        inputs,
        key,
        done,
        failed,
      });
    });
  }

  async #runOnLane(work: Work): Promise<void> {
    const lane = this.#lanes.pick(work.key);
    if (lane === null) {
      work.failed(new Reroute(false));
      return;
    }
    await this.#run(work, 'ready', async () => {
      const run = this.#pipeline.enter();
      const timeoutMs = Math.max(this.options.laneLimitMs, lane.p50Ms * LIMIT_FACTOR);
      const end = this.#lanes.begin(lane.id);
      try {
        const result = await this.port.runOn(lane.id, work.inputs, work.request.outputs, { timeoutMs });
        run.end();
        this.port.observe(lane.id, result.computeMs);
        return result;
      } catch (thrown) {
        // A runtime that died had begun only the first of the runs that were sent to it.
        const suspect = isSuspicious(thrown) && run.isFirst;
        if (isProcessDeath(thrown) === null) run.end();
        else this.#pipeline.clear();
        if (!isGone(thrown)) throw thrown;
        // Its `gone` may come only after this: without it the work would be routed here again.
        if (this.#lanes.holds(lane)) void this.removeLane(lane.id);
        throw new Reroute(suspect);
      } finally {
        end();
      }
    });
  }

  async #runOnFallback(work: Work): Promise<void> {
    await this.#run(work, 'cold', async () => {
      const { model, version, outputs } = work.request;
      try {
        return await this.port.fallbackRun(model, version, work.inputs, outputs, {
          timeoutMs: this.options.fallbackLimitMs,
        });
      } catch (thrown) {
        if (!isGone(thrown)) throw thrown;
        if (!isSuspicious(thrown)) await delay(RETRY_START_MS);
        throw new Reroute(isSuspicious(thrown));
      }
    });
  }

  async #run(work: Work, lane: Served['lane'], run: () => Promise<LaneRun>): Promise<void> {
    const startedAt = this.clock.now();
    if (work.deadlineAt <= startedAt) {
      work.failed(deadlineExceeded(work.request));
      return;
    }
    try {
      work.done({ lane, run: await run(), startedAt });
    } catch (thrown) {
      work.failed(thrown);
    }
  }
}

const GONE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['not-ready', 'worker-gone', 'not-found']);

/** The run did not end because its lane or its process is away, not because of what was run. */
function isGone(thrown: unknown): boolean {
  if (isProcessDeath(thrown) !== null) return true;
  return thrown instanceof WarmlaneError && GONE.has(thrown.code);
}

/** The process died under the run, and nobody wanted it to. */
function isSuspicious(thrown: unknown): boolean {
  const death = isProcessDeath(thrown);
  return death !== null && !death.external && !death.planned;
}
