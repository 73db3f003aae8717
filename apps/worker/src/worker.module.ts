import { type DynamicModule, Module } from '@nestjs/common';
import type { Logger, StallMonitor } from '@warmlane/observability';
import { Children, DEVICE } from './children/children.provider.js';
import { Fleet } from './fleet/fleet.js';
import { GoneWorkers } from './fleet/gone-workers.js';
import { Reconciler } from './fleet/reconciler.js';
import { Takeover } from './fleet/takeover.js';
import { IdentityService } from './identity/identity.service.js';
import { BatchProver } from './lanes/batch-proof.js';
import { Fallback } from './lanes/fallback.js';
import { IdleWork } from './lanes/idle-work.js';
import { LaneDrain } from './lanes/lane-drain.js';
import { LaneFailures } from './lanes/lane-failures.js';
import { LaneManager } from './lanes/lane-manager.js';
import { LaneMemory } from './lanes/lane-memory.js';
import { LaneRecords } from './lanes/lane-records.js';
import { LaneRegistry } from './lanes/lane-registry.js';
import { LaneTrial } from './lanes/lane-trial.js';
import { LaneUpkeep } from './lanes/lane-upkeep.js';
import { LaneWarmer } from './lanes/lane-warmer.js';
import { LaneWatcher } from './lanes/lane-watcher.js';
import { ListenerHub } from './lanes/listener-hub.js';
import { PadProver } from './lanes/pad-proof.js';
import { QuietMeasure } from './lanes/quiet-measure.js';
import { Revisitor } from './lanes/revisit.js';
import { RuntimeLife } from './lanes/runtime-life.js';
import { TrialTurn } from './lanes/trial-turn.js';
import { Verifier } from './lanes/verifier.js';
import { WarmQueue } from './lanes/warm-queue.js';
import { LOGGER, MONITOR } from './logger.js';
import { HeldVersions } from './models/held-versions.js';
import { LoadAnswers } from './models/load-answers.js';
import { ModelLoader } from './models/model-loader.js';
import { ModelRepository } from './models/model-repository.js';
import { FALLBACK, LANES, REFERENCE, RUNTIME, TRIALS } from './ports.js';
import type { RuntimeDevice } from './processes/index.js';
import { WorkerRedis } from './redis.provider.js';
import { Serving } from './serving.provider.js';
import { Pace } from './tuning/pace.js';
import { Tuner } from './tuning/tuner.js';
import { Tunings } from './tuning/tunings.js';
import { WarmLaneProcessor } from './warmup/warm-lane.processor.js';
import { WORKER_CONFIG, type WorkerConfig } from './worker.config.js';
import { WorkerService } from './worker.service.js';

/** What main settles before anything is built. */
export interface WorkerSetup {
  config: WorkerConfig;
  device: RuntimeDevice;
  logger: Logger;
  monitor: StallMonitor;
}

/** The module's class only gives Nest a name for it. */
@Module({})
class WorkerModule {}

/** Everything of a worker, for one application context. */
export function workerModule({ config, device, logger, monitor }: WorkerSetup): DynamicModule {
  return {
    module: WorkerModule,
    providers: [
      { provide: WORKER_CONFIG, useValue: config },
      { provide: DEVICE, useValue: device },
      { provide: LOGGER, useValue: logger },
      { provide: MONITOR, useValue: monitor },
      WorkerRedis,
      IdentityService,
      Children,
      { provide: RUNTIME, useFactory: (children: Children) => children.runtime, inject: [Children] },
      { provide: REFERENCE, useFactory: (children: Children) => children.reference, inject: [Children] },
      { provide: FALLBACK, useFactory: (children: Children) => children.fallback, inject: [Children] },
      { provide: TRIALS, useExisting: Children },
      HeldVersions,
      LoadAnswers,
      ModelLoader,
      ModelRepository,
      ListenerHub,
      LaneRegistry,
      LaneRecords,
      LaneMemory,
      RuntimeLife,
      Verifier,
      BatchProver,
      PadProver,
      Revisitor,
      TrialTurn,
      Tunings,
      LaneTrial,
      LaneDrain,
      LaneWarmer,
      LaneWatcher,
      LaneFailures,
      Fallback,
      WarmQueue,
      LaneManager,
      { provide: LANES, useExisting: LaneManager },
      LaneUpkeep,
      QuietMeasure,
      IdleWork,
      Pace,
      Tuner,
      Fleet,
      Serving,
      GoneWorkers,
      Takeover,
      Reconciler,
      WarmLaneProcessor,
      WorkerService,
    ],
  };
}
