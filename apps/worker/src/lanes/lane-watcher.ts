import { Inject, Injectable } from '@nestjs/common';
import { WarmlaneError } from '@warmlane/contracts';
import { forgottenMs, isServing, isSlow, median } from '@warmlane/lanes';
import type { Logger } from '@warmlane/observability';
import { MEASURE } from '../limits.js';
import { LOGGER } from '../logger.js';
import { isProcessDeath, RUNTIME } from '../ports.js';
import { BatchProver } from './batch-proof.js';
import type { Lane } from './lane.js';
import { LaneCalls, type LaneHost } from './lane-calls.js';
import { LaneDrain } from './lane-drain.js';
import { LaneRecords } from './lane-records.js';
import { Revisitor } from './revisit.js';
import { type Verdict, Verifier } from './verifier.js';

/** Runs of the measurement that tells a lane that lost its shape from one that was slowed by other load. */
const CHECK_RUNS = 20;

/** Looks again at lanes that serve: slow ones, those somebody asked about, the neighbour of a new one. */
@Injectable()
export class LaneWatcher {
  private readonly busy = new Set<string>();
  private servedAt = Number.NEGATIVE_INFINITY;
  private served = 0;

  constructor(
    @Inject(RUNTIME) private readonly runtime: LaneHost,
    @Inject(LaneRecords) private readonly records: Pick<LaneRecords, 'move' | 'restore'>,
    @Inject(Verifier) private readonly verifier: Pick<Verifier, 'samplesOf'>,
    @Inject(BatchProver) private readonly batches: Pick<BatchProver, 'prove'>,
    @Inject(Revisitor) private readonly revisitor: Pick<Revisitor, 'revisit'>,
    @Inject(LaneDrain) private readonly drain: Pick<LaneDrain, 'takeOut'>,
    @Inject(LOGGER) private readonly logger: Pick<Logger, 'error'>,
  ) {}

  /** ms since a request was last served. */
  get quietMs(): number {
    return performance.now() - this.servedAt;
  }

  /** Requests served so far, on lanes and without. */
  get runs(): number {
    return this.served;
  }

  /** A request is being served. */
  serves(): void {
    this.served += 1;
    this.servedAt = performance.now();
  }

  /** A served run. Starts the check of a lane that has become slow. */
  observe(lane: Lane, computeMs: number): void {
    lane.traffic += 1;
    this.serves();
    const medianMs = lane.watch?.push(computeMs, performance.now()) ?? null;
    if (medianMs === null || lane.state !== 'READY' || rests(lane)) return;
    const reason = `median of 50 runs ${medianMs.toFixed(2)} ms, recorded ${lane.record?.steadyP50Ms.toFixed(2)} ms`;
    this.check(lane, 'watch', reason).catch((thrown: unknown) =>
      this.logger.error({ err: thrown, lane: lane.id }, 'a suspect lane could not be checked'),
    );
  }

  /**
   * SUSPECT while its numbers are proven again; it serves meanwhile. Wrong numbers take it out at once (FAILED). One that
   * the watch found slow and that is slow with nothing else asked of it too gets a successor, see `Lane.worn`.
   */
  async check(lane: Lane, trigger: 'watch' | 'verify', reason: string): Promise<void> {
    if (lane.state !== 'READY' || this.busy.has(lane.id)) return;
    this.busy.add(lane.id);
    try {
      await this.records.move(lane, 'SUSPECT', { trigger, reason });
      const calls = new LaneCalls(this.runtime, lane);
      const verdict = await this.prove(lane, calls);
      if (verdict === null) return;
      const slow = trigger === 'watch' ? await this.stillSlow(lane, calls) : null;
      if (!lane.is('SUSPECT')) return;
      this.renew(lane, verdict);
      if (trigger === 'watch' && slow === null) lane.failedSuccessors = 0;
      if (slow !== null && !rests(lane)) {
        lane.worn = true;
        // Its successor is on its way: there is nothing more to find out about it.
        lane.watch = null;
      }
      await this.records.move(lane, 'READY', { trigger, reason: slow ?? '' });
    } catch (thrown) {
      if (isProcessDeath(thrown) !== null || !isServing(lane.state)) return;
      await this.fail(lane, `it could not be verified: ${WarmlaneError.from(thrown).message}`);
    } finally {
      this.busy.delete(lane.id);
    }
  }

  /** One verified run, for a lane that was given up by others and is still there. @returns whether it is right */
  async proveOnce(lane: Lane): Promise<boolean> {
    return (await this.prove(lane, new LaneCalls(this.runtime, lane))) !== null;
  }

  /** After a lane was added beside it: does this one still keep its shape, are its numbers right? */
  async revisitNeighbour(lane: Lane): Promise<void> {
    const { record } = lane;
    if (lane.state !== 'READY' || record === null) return;
    const revisit = await this.revisitor.revisit(lane);
    if (!isServing(lane.state)) return;
    const forgotten = forgottenMs(lane.spec.provider, revisit, record.steadyP50Ms);
    if (forgotten !== null) {
      await this.check(lane, 'watch', `revisited after a lane was added: ${forgotten.toFixed(2)} ms`);
      return;
    }
    const verdict = await this.prove(lane, new LaneCalls(this.runtime, lane));
    if (verdict === null || !isServing(lane.state)) return;
    lane.record = { ...record, revisitP50Ms: revisit.medianMs };
    this.renew(lane, verdict);
    await this.records.restore(lane);
  }

  /** Wrong numbers take the lane out at once: null then. */
  private async prove(lane: Lane, calls: LaneCalls): Promise<Verdict | null> {
    const { held, inputs } = lane.spec;
    const { samples } = await this.verifier.samplesOf(held, inputs);
    const { verdict, batch } = await this.batches.prove(lane, samples, (given) => calls.poisoned(given));
    // A lane that serves in batches has to be right item by item.
    const asBefore = lane.batchAxes === null || batch?.verified === true;
    if (verdict.right && asBefore) return verdict;
    await this.fail(lane, verdict.right ? (batch?.reason ?? '') : verdict.reason);
    return null;
  }

  private async fail(lane: Lane, reason: string): Promise<void> {
    if (!isServing(lane.state)) return;
    const taken = this.drain.takeOut(lane);
    await this.records.move(lane, 'FAILED', { reason });
    await taken;
  }

  /** Why it is still slow with nothing else asked of it, or null. */
  private async stillSlow(lane: Lane, calls: LaneCalls): Promise<string | null> {
    const { samples } = await this.verifier.samplesOf(lane.spec.held, lane.spec.inputs);
    const runsMs = await calls.measure(samples[0]?.inputs ?? [], CHECK_RUNS, MEASURE.budgetMs);
    const recordMs = lane.record?.steadyP50Ms ?? 0;
    const now = median(runsMs);
    return isSlow(now, recordMs) ? `it takes ${now.toFixed(2)} ms, recorded are ${recordMs.toFixed(2)} ms` : null;
  }

  private renew(lane: Lane, verdict: Verdict): void {
    if (lane.record === null) return;
    const { relativeError, tolerance } = verdict;
    lane.record = { ...lane.record, relativeError, tolerance, verifiedAt: new Date().toISOString() };
    lane.startWatch(lane.record);
  }
}

/** Its successor failed a short while ago, and the next would too. */
function rests(lane: Lane): boolean {
  return performance.now() < lane.restsUntil;
}
