import { Inject, Injectable } from '@nestjs/common';
import { isWarming, keptItsShape, median, percentile } from '@warmlane/lanes';
import type { Logger } from '@warmlane/observability';
import { MEASURE } from '../limits.js';
import { LOGGER } from '../logger.js';
import { RUNTIME } from '../ports.js';
import type { Lane } from './lane.js';
import { LaneCalls, type LaneHost } from './lane-calls.js';
import { LaneRecords } from './lane-records.js';
import { LaneRegistry } from './lane-registry.js';
import { LaneWatcher } from './lane-watcher.js';
import { ListenerHub } from './listener-hub.js';
import { Verifier } from './verifier.js';

/** Without a request for so long the runtime counts as quiet. */
const QUIET_MS = 1_000;

/**
 * Measures lanes again whose first measurement was disturbed: on an H100 a lane that was measured beside others had 7.5 ms
 * in its record and took 1.9. The watch and the scheduler go by the record.
 */
@Injectable()
export class QuietMeasure {
  constructor(
    @Inject(RUNTIME) private readonly runtime: LaneHost,
    @Inject(LaneRecords) private readonly records: Pick<LaneRecords, 'restore'>,
    @Inject(LaneRegistry) private readonly registry: LaneRegistry,
    @Inject(LaneWatcher) private readonly watcher: Pick<LaneWatcher, 'quietMs' | 'runs' | 'revisitNeighbour'>,
    @Inject(Verifier) private readonly verifier: Pick<Verifier, 'samplesOf'>,
    @Inject(ListenerHub) private readonly hub: Pick<ListenerHub, 'laneMeasured'>,
    @Inject(LOGGER) private readonly logger: Pick<Logger, 'info'>,
  ) {}

  /** One lane after the other, while it stays quiet. */
  async measureDue(): Promise<void> {
    for (const lane of this.registry.serving) {
      if (!this.quiet) return;
      if (lane.disturbed && lane.is('READY')) await this.measure(lane);
    }
  }

  private get quiet(): boolean {
    return this.watcher.quietMs > QUIET_MS && !this.registry.all.some((lane) => isWarming(lane.state));
  }

  private async measure(lane: Lane): Promise<void> {
    const { held, inputs, provider } = lane.spec;
    const { samples } = await this.verifier.samplesOf(held, inputs);
    const { runs } = this.watcher;
    const calls = new LaneCalls(this.runtime, lane);
    const runsMs = await calls.measure(samples[0]?.inputs ?? [], MEASURE.runs, MEASURE.budgetMs);
    const { record } = lane;
    // Disturbed once more: the next quiet moment is as good.
    if (this.watcher.runs !== runs || !this.quiet || !lane.is('READY') || record === null) return;
    lane.disturbed = false;
    const steadyP50Ms = median(runsMs);
    if (steadyP50Ms >= record.steadyP50Ms) return;
    lane.record = { ...record, steadyP50Ms, steadyP99Ms: percentile(runsMs, 0.99) };
    lane.startWatch(lane.record);
    if (!(await this.records.restore(lane))) return;
    this.hub.laneMeasured(lane.id, steadyP50Ms);
    this.logger.info(
      { lane: lane.id, beforeMs: record.steadyP50Ms, nowMs: steadyP50Ms },
      'measured again, undisturbed',
    );
    // What was good enough beside the disturbed figure may not be beside this one.
    if (!keptItsShape(provider, record.revisitP50Ms, steadyP50Ms)) await this.watcher.revisitNeighbour(lane);
  }
}
