import { setTimeout as delay } from 'node:timers/promises';
import { type ClassJob, type ErrorCode, type LaneRun, type NamedTensor, WarmlaneError } from '@warmlane/contracts';
import type { RedisClock } from '@warmlane/redis';
import { type HeldModel, isProcessDeath, type LanesPort, type ReadyLane } from '../ports.js';
import { AnswerTimes } from './answer-times.js';
import { isWhole, itemOf, type LaneBatch, outputsOf, ownOutputs, planBatch } from './batch-plan.js';
import { classKey, LaneIndex } from './lane-index.js';
import { Pipeline } from './pipeline.js';
import { Places } from './places.js';
import { Progress } from './progress.js';
import { Pump, type Turn } from './pump.js';
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
import { abandoned, deadlineExceeded, Reroute, type Served, type Work, waitedInVain } from './work.js';

/** One run that succeeded. */
interface Execution {
  model: string;
  version: string;
  /** Items of requests in it; places that were only filled up do not count. */
  items: number;
  copyMs: number;
  computeMs: number;
}

export interface ExecutorDeps {
  port: LanesPort;
  clock: RedisClock;
  suspects: Suspects;
  options: ServingOptions;
  onExecution: (execution: Execution) => void;
  /** A run of a lane ended well, just now. `sentAt`: of `performance.now()`. */
  onRun: (batch: LaneBatch, sentAt: number) => void;
}

/**
 * Runs requests: on the lanes of their class where some serve, together with others of it, else on the fallback, and
 * alone in a disposable runtime where a runtime died under them. A request is routed anew as often as lanes come and go,
 * until its deadline.
 */
export class Executor {
  readonly #lanes = new LaneIndex();
  readonly #places = new Places();
  readonly #onLanes: Pump<Work, LaneBatch>;
  readonly #onFallback: Pump<Work, Work>;
  readonly #pipeline = new Pipeline();
  readonly #trials: Trials;
  readonly #times = new AnswerTimes();

  constructor(private readonly deps: ExecutorDeps) {
    const { port, clock, suspects, options } = deps;
    const now = () => clock.now();
    this.#onLanes = new Pump<Work, LaneBatch>({
      depth: LANE_DEPTH,
      aheadBelowMs: AHEAD_BELOW_MS,
      costMs: ({ lane }) => lane.p50Ms,
      now,
      plan: (waiting, ahead) => this.#plan(waiting, ahead),
      run: (batch) => this.#runOnLane(batch),
    });
    this.#onFallback = new Pump<Work, Work>({
      depth: FALLBACK_DEPTH,
      aheadBelowMs: 0,
      costMs: () => 0,
      now,
      plan: ([work]) => (work === undefined ? { run: null, taken: [] } : { run: work, taken: [work] }),
      run: (work) => this.#runOnFallback(work),
    });
    this.#trials = new Trials(port, clock, suspects, options);
  }

  /** Items of the largest batch that a lane here takes. */
  get largestBatch(): number {
    return this.#lanes.largestBatch;
  }

  /**
   * Rejects with the WarmlaneError that answers the request: `deadline-exceeded`, `poison`, or what the run failed with.
   *
   * @param arrivedAt when the job became active here, Redis TIME in ms
   * @param again the job ran before: it may be under suspicion
   */
  async execute(request: ClassJob, inputs: NamedTensor[], arrivedAt: number, again: boolean): Promise<Served> {
    const { clock, suspects } = this.deps;
    let suspect = again && (await suspects.deaths(request.request)) !== null;
    let alone = false;
    for (;;) {
      if (request.deadlineAt <= clock.now()) throw deadlineExceeded(request);
      if (suspect) return await this.#runAlone(request, inputs);
      try {
        return await this.#route(request, inputs, arrivedAt, alone);
      } catch (thrown) {
        if (!(thrown instanceof Reroute)) throw thrown;
        ({ suspect } = thrown);
        alone ||= thrown.alone;
        if (suspect) await suspects.suspect(request.request);
      }
    }
  }

  /** The largest lane of the class that a lane is or was of; null where none of it serves. */
  largestLike(lane: ReadyLane): ReadyLane | null {
    return this.#lanes.largestLike(lane);
  }

  hold(model: HeldModel): void {
    this.#places.hold(model);
  }

  drop(model: HeldModel): void {
    this.#places.drop(model);
    this.#times.forget(`${model.name}/${model.version}`);
  }

  addLane(lane: ReadyLane): void {
    this.#lanes.add(lane);
    const served = this.#onFallback.takeWhere(({ request, inputs }) => this.#placeOf(request, inputs) !== null);
    for (const work of served) work.failed(new Reroute(false));
  }

  laneMeasured(id: string, p50Ms: number): void {
    this.#lanes.measured(id, p50Ms);
  }

  /**
   * The lane serves no more; waiting work of its class goes to another lane or the fallback. Resolves once nothing runs on
   * it.
   */
  removeLane(id: string): Promise<void> {
    const idle = this.#lanes.remove(id);
    const unserved = this.#onLanes.takeWhere(({ key, padded }) => !this.#lanes.serves(key, padded));
    for (const work of unserved) work.failed(new Reroute(false));
    return idle;
  }

  /** Nobody waits for the request any more: it is not run, if it has not begun. */
  abandon(request: string): void {
    const waits = ({ request: { request: id }, progress, items }: Work) => id === request && progress.left === items;
    for (const pump of [this.#onLanes, this.#onFallback]) {
      for (const work of pump.takeWhere(waits)) work.failed(abandoned());
    }
  }

  /** An answer was written so long after its run had ended. */
  answered(afterMs: number): void {
    this.#times.wrote(afterMs);
  }

  /** Fails what waits past its deadline. */
  sweep(): void {
    for (const pump of [this.#onLanes, this.#onFallback]) {
      for (const work of pump.takeExpired()) work.failed(deadlineExceeded(work.request));
    }
  }

  #placeOf(request: ClassJob, inputs: readonly NamedTensor[]) {
    return this.#places.find(request, inputs, (key, padded) => this.#lanes.serves(key, padded));
  }

  #route(request: ClassJob, inputs: NamedTensor[], arrivedAt: number, alone: boolean): Promise<Served> {
    const place = this.#placeOf(request, inputs);
    const { model, version, shapeKey, enqueuedAt, deadlineAt, priority } = request;
    const { key, axes, items, padded, shared } = place ?? {
      key: classKey({ model, version, class: shapeKey }),
      axes: null,
      items: 1,
      padded: false,
      shared: '',
    };
    const pump = place === null ? this.#onFallback : this.#onLanes;
    return new Promise<Served>((done, failed) => {
      const due = { class: key, enqueuedAt, arrivedAt, deadlineAt, priority };
      const progress = new Progress(items);
      const rows = this.#places.itemsOf(request, inputs);
      pump.add({ ...due, request, inputs, key, axes, items, rows, padded, shared, alone, progress, done, failed });
    });
  }

  #plan(waiting: readonly Work[], ahead: boolean): Turn<Work, LaneBatch> | null {
    return planBatch(waiting, {
      now: this.deps.clock.now(),
      ahead,
      largest: (key, padded) => this.#lanes.largestOf(key, padded),
      pick: (key, items, padded) => this.#lanes.pick(key, items, padded),
      answerMs: (lane) => this.#times.ofRun(this.#lanes.likelyMs(lane)),
      expired: (work) => work.failed(deadlineExceeded(work.request)),
      unserved: (work) => work.failed(new Reroute(false)),
    });
  }

  async #runOnLane(batch: LaneBatch): Promise<void> {
    const { lane, parts } = batch;
    const { port, clock, options } = this.deps;
    const startedAt = clock.now();
    const sentAt = performance.now();
    const run = this.#pipeline.enter();
    const timeoutMs = Math.max(options.laneLimitMs, lane.p50Ms * LIMIT_FACTOR);
    const end = this.#lanes.begin(lane.id);
    try {
      const runs = await this.#runParts(batch, timeoutMs);
      run.end();
      this.deps.onRun(batch, sentAt);
      const [{ copyMs, computeMs } = { copyMs: 0, computeMs: 0 }] = runs;
      port.observe(lane.id, computeMs);
      this.#count(
        lane,
        parts.reduce((sum, { work, count }) => sum + (work.axes === null ? work.rows : count), 0),
        { copyMs, computeMs },
      );
      parts.forEach(({ work, from, count }, at) => {
        const own = runs[at];
        if (own !== undefined) settle(work, from, count, own, startedAt);
      });
    } catch (thrown) {
      // A runtime that died had begun only the first of the runs that were sent to it.
      const suspect = isSuspicious(thrown) && run.isFirst;
      if (isProcessDeath(thrown) === null) run.end();
      else this.#pipeline.clear();
      const gone = isGone(thrown);
      // Its `gone` may come only after this: without it the work would be routed here again.
      if (gone && this.#lanes.holds(lane)) void this.removeLane(lane.id);
      // One bad item fails alone: each runs again by itself.
      const reason = gone ? new Reroute(suspect) : parts.length > 1 ? new Reroute(false, true) : thrown;
      const failed = new Set(parts.map(({ work }) => work));
      // Of a request that was cut the rest may still wait.
      this.#onLanes.takeWhere((work) => failed.has(work));
      for (const work of failed) work.failed(reason);
    } finally {
      end();
    }
  }

  /** @returns by part, the outputs that its request wants */
  async #runParts(batch: LaneBatch, timeoutMs: number): Promise<LaneRun[]> {
    const { lane, parts } = batch;
    const { port } = this.deps;
    const [first] = parts;
    if (first !== undefined && isWhole(batch)) {
      const { inputs, request } = first.work;
      return [await port.runOn(lane.id, inputs, request.outputs, { timeoutMs })];
    }
    const items = parts.map((part) => itemOf(part, lane));
    const run = await port.runItems(lane.id, items, outputsOf(batch), { timeoutMs });
    return parts.map(({ work }, at) => ({
      outputs: ownOutputs(work, run.items[at] ?? []),
      copyMs: run.copyMs,
      computeMs: run.computeMs,
    }));
  }

  async #runAlone(request: ClassJob, inputs: NamedTensor[]): Promise<Served> {
    const served = await this.#trials.run(request, inputs);
    const items = this.#places.itemsOf(request, inputs);
    this.#count(request, items, served.run);
    return { ...served, items };
  }

  async #runOnFallback(work: Work): Promise<void> {
    const { port, clock, options } = this.deps;
    const { model, version, outputs } = work.request;
    const startedAt = clock.now();
    const name = `${model}/${version}`;
    if (work.deadlineAt <= startedAt || waitedInVain(work, startedAt, this.#times.ofColdRun(name))) {
      work.failed(deadlineExceeded(work.request));
      return;
    }
    try {
      const run = await port.fallbackRun(model, version, work.inputs, outputs, { timeoutMs: options.fallbackLimitMs });
      this.#times.ranCold(name, clock.now() - startedAt);
      this.#count({ model, version }, work.rows, run);
      work.done({ lane: 'cold', items: work.rows, run, startedAt });
    } catch (thrown) {
      const gone = isGone(thrown);
      if (gone && !isSuspicious(thrown)) await delay(RETRY_START_MS);
      work.failed(gone ? new Reroute(isSuspicious(thrown)) : thrown);
    }
  }

  #count(
    { model, version }: { model: string; version: string },
    items: number,
    { copyMs, computeMs }: Pick<LaneRun, 'copyMs' | 'computeMs'>,
  ): void {
    this.deps.onExecution({ model, version, items, copyMs, computeMs });
  }
}

/** Some items of a request have run; answers it where they were the last. */
function settle(work: Work, from: number, count: number, run: LaneRun, startedAt: number): void {
  if (!work.progress.end(from, count, run, startedAt)) return;
  try {
    const whole = work.progress.join(work.axes);
    const { rows, padded, progress } = work;
    const lane = padded ? 'padded' : 'ready';
    work.done({ lane, items: rows, run: whole, startedAt: progress.startedAt ?? startedAt });
  } catch (thrown) {
    work.failed(thrown);
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
