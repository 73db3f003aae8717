import { Inject, Injectable } from '@nestjs/common';
import { type CreateLaneResult, WarmlaneError, type WarmRecord } from '@warmlane/contracts';
import { forgottenMs, median, percentile, type SampleSet, wasDisturbed } from '@warmlane/lanes';
import { IdentityService } from '../identity/identity.service.js';
import { MEASURE, REVISIT_ATTEMPTS } from '../limits.js';
import { RUNTIME } from '../ports.js';
import { BatchProver, type LaneVerdict } from './batch-proof.js';
import { InTurn } from './in-turn.js';
import type { Lane } from './lane.js';
import { LaneCalls, type LaneHost } from './lane-calls.js';
import { LaneMemory } from './lane-memory.js';
import { LaneRecords } from './lane-records.js';
import { LaneWatcher } from './lane-watcher.js';
import { PadProver } from './pad-proof.js';
import { type Revisit, Revisitor } from './revisit.js';
import { type Verdict, Verifier } from './verifier.js';

/** Its numbers are wrong: trying again changes nothing. */
class WrongNumbers extends WarmlaneError {
  constructor(reason: string) {
    super('internal', reason, "Raise 'tolerance' if the model allows it, or choose other options.");
  }
}

/** It seems to forget its shape. Other load on the device looks the same, so it is tried again later. */
class ForgetsShape extends WarmlaneError {
  constructor(revisitMs: number, steadyMs: number) {
    const times = `after other shapes it takes ${revisitMs.toFixed(2)} ms, before ${steadyMs.toFixed(2)} ms`;
    super(
      'device-busy',
      `${times}: it does not keep its shape`,
      'Choose other options, or take other load off the device.',
    );
  }
}

interface Steady {
  p50Ms: number;
  p99Ms: number;
}

/** A lane whose session is there and has run once. */
export interface CreatedLane {
  created: CreateLaneResult;
  firstMs: number;
}

/** A lane that stands in the runtime as it will serve, and is not proven yet. */
export interface StandingLane extends CreatedLane {
  captureMs: number | null;
  graph: string;
}

/**
 * Takes a lane from QUEUED to its warm record in three parts, so that several lanes may be created before the first of them
 * is proven. Each step is written to Redis before it begins. Every part rejects with `canceled` once the lane's abort signal
 * is set, between two steps.
 */
@Injectable()
export class LaneWarmer {
  /** A lane that forgets its shape whenever another one runs would be as slow before the revisit as after it. */
  private readonly timing = new InTurn();

  constructor(
    @Inject(RUNTIME) private readonly runtime: LaneHost,
    @Inject(LaneRecords) private readonly records: Pick<LaneRecords, 'openStep' | 'closeStep' | 'move'>,
    @Inject(Verifier) private readonly verifier: Verifier,
    @Inject(BatchProver) private readonly batches: BatchProver,
    @Inject(PadProver) private readonly paddings: PadProver,
    @Inject(Revisitor) private readonly revisitor: Revisitor,
    @Inject(LaneMemory) private readonly memory: Pick<LaneMemory, 'learn' | 'weightsFolder'>,
    @Inject(LaneWatcher) private readonly watcher: Pick<LaneWatcher, 'runs'>,
    @Inject(IdentityService) private readonly identity: Pick<IdentityService, 'environment'>,
  ) {}

  /** Its session, and its first run, which searches kernels and is the slow one. */
  async create(lane: Lane): Promise<CreatedLane> {
    const { held, inputs } = lane.spec;
    const calls = new LaneCalls(this.runtime, lane);
    const { samples } = await this.verifier.samplesOf(held, inputs);
    await this.step(lane, 'CREATING', 'create');
    const created = await calls.create(this.memory.weightsFolder(lane));
    await this.step(lane, 'SEARCHING', 'first');
    const { firstMs } = await calls.first(samples[0]?.inputs ?? []);
    return { created, firstMs };
  }

  /** Its graph, or the reason why it has none. It is MEASURING afterwards, though others may be measured before it. */
  async capture(lane: Lane, begun: CreatedLane): Promise<StandingLane> {
    await this.step(lane, 'CAPTURING', 'capture');
    const { captureMs, graph } = await new LaneCalls(this.runtime, lane).capture();
    await this.records.move(lane, 'MEASURING');
    // In no native step until its turn comes: a death meanwhile is not its doing.
    await this.records.closeStep(lane);
    return { ...begun, captureMs, graph };
  }

  /** Measures and verifies it, among other shapes too. */
  async prove(lane: Lane, { created, firstMs, captureMs, graph }: StandingLane): Promise<WarmRecord> {
    const { held, inputs } = lane.spec;
    const calls = new LaneCalls(this.runtime, lane);
    const sampleSet = await this.verifier.samplesOf(held, inputs);
    const first = sampleSet.samples[0]?.inputs ?? [];
    await this.step(lane, null, 'measure');
    const { runs } = this.watcher;
    let steady = await this.measure(calls, first);
    await this.step(lane, 'VERIFYING', 'verify');
    const { verdict, batch } = await this.verify(lane, calls, sampleSet);
    const axes = batch?.verified === true ? lane.spec.rules.batch : null;
    const padding = await this.paddings.prove(lane, calls, sampleSet.samples, axes);

    await this.step(lane, null, 'revisit');
    let revisit = await this.revisit(lane);
    for (let attempt = 1; ; attempt += 1) {
      const forgotten = forgottenMs(lane.spec.provider, revisit, steady.p50Ms);
      if (forgotten === null) break;
      if (attempt === REVISIT_ATTEMPTS) throw new ForgetsShape(forgotten, steady.p50Ms);
      // Both again, close together.
      steady = await this.measure(calls, first);
      revisit = await this.revisit(lane);
    }
    lane.disturbed = wasDisturbed({
      served: this.watcher.runs - runs,
      steadyMs: steady.p50Ms,
      revisitMs: revisit.medianMs,
    });
    const last = { ...sampleSet, samples: sampleSet.samples.slice(0, 1) };
    const { verdict: again, batch: batchAgain } = await this.verify(lane, calls, last);
    const proven = batch?.verified === true ? batchAgain : batch;
    lane.spec.class = this.batches.classOf(lane, proven);
    const holding = await calls.memory();
    await this.records.closeStep(lane);
    const worst = again.relativeError > verdict.relativeError ? again : verdict;
    await this.memory.learn(lane, holding);
    const weights = weightsOf(lane, created);
    const memoryBytes = holding.bytes;
    const proofs = { batch: proven, padding, weights };
    return this.record({ created, firstMs, captureMs, graph, steady, revisit, worst, sampleSet, memoryBytes, proofs });
  }

  /** The numbers of a lane against the reference's. Throws where they are wrong. */
  private async verify(lane: Lane, calls: LaneCalls, sampleSet: SampleSet): Promise<LaneVerdict> {
    const proof = await this.batches.prove(lane, sampleSet.samples, (inputs) => calls.poisoned(inputs));
    const { verdict } = proof;
    if (verdict.right) return proof;
    if (!lane.sharesWeights) throw new WrongNumbers(verdict.reason);
    // Sharing may be the reason: once more without. What has a cause is tried again.
    lane.ownWeights = `not shared: ${verdict.reason}`;
    const cause = new WrongNumbers(verdict.reason);
    throw new WarmlaneError('internal', `${verdict.reason}, with shared weights`, 'It is warmed with its own.', {
      cause,
    });
  }

  private async measure(calls: LaneCalls, inputs: Parameters<LaneCalls['measure']>[0]): Promise<Steady> {
    const runsMs = await this.timing.take(() => calls.measure(inputs, MEASURE.runs, MEASURE.budgetMs));
    return { p50Ms: median(runsMs), p99Ms: percentile(runsMs, 0.99) };
  }

  private async revisit(lane: Lane): Promise<Revisit> {
    return await this.timing.take(() => this.revisitor.revisit(lane));
  }

  private async step(
    lane: Lane,
    state: Lane['state'] | null,
    step: Parameters<LaneRecords['openStep']>[1],
  ): Promise<void> {
    if (lane.abort.signal.aborted) throw new WarmlaneError('canceled', `warming of lane ${lane.id} was ended`);
    await this.records.openStep(lane, step);
    if (state !== null) await this.records.move(lane, state);
  }

  private record(found: {
    created: CreateLaneResult;
    firstMs: number;
    captureMs: number | null;
    graph: string;
    steady: Steady;
    revisit: Revisit;
    worst: Verdict;
    sampleSet: SampleSet;
    memoryBytes: number;
    proofs: Pick<WarmRecord, 'batch' | 'padding' | 'weights'>;
  }): WarmRecord {
    const { created, firstMs, captureMs, graph, steady, revisit, worst, sampleSet, memoryBytes, proofs } = found;
    return {
      firstMs,
      createMs: created.createMs,
      captureMs,
      steadyP50Ms: steady.p50Ms,
      steadyP99Ms: steady.p99Ms,
      revisitP50Ms: revisit.medianMs,
      revisit: revisit.kind,
      relativeError: worst.relativeError,
      tolerance: worst.tolerance,
      inputs: sampleSet.inputs,
      samples: sampleSet.samples.length,
      optionsParsed: created.optionsParsed,
      placement: created.placement,
      graph,
      memoryBytes,
      ...proofs,
      environment: this.identity.environment,
      verifiedAt: new Date().toISOString(),
    };
  }
}

/** What the record says of shared weights: those that must not be shared say why. */
function weightsOf(lane: Lane, { weights }: CreateLaneResult): NonNullable<WarmRecord['weights']> {
  return lane.ownWeights === null ? weights : { sharedBytes: 0, reason: lane.ownWeights };
}
