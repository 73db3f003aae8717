import { type DynamicModule, Module } from '@nestjs/common';
import { ApiConfig } from './config/api.config.js';
import { FleetService } from './fleet/fleet.service.js';
import { ModelDirectory } from './fleet/model-directory.js';
import { HealthController } from './health/health.controller.js';
import { HealthService } from './health/health.service.js';
import type { ApiParts } from './lifecycle/api-parts.js';
import { FleetMetrics } from './metrics/fleet.metrics.js';
import { MetricsController } from './metrics/metrics.controller.js';
import { AnswerBlobs } from './protocol/answer-blobs.js';
import { IdempotentInference } from './protocol/idempotent-inference.js';
import { InferController } from './protocol/infer.controller.js';
import { InferService } from './protocol/infer.service.js';
import { InferBody } from './protocol/infer-body.js';
import { ModelController } from './protocol/model.controller.js';
import { RepositoryController } from './protocol/repository.controller.js';
import { RepositoryService } from './protocol/repository.service.js';
import { ServerController } from './protocol/server.controller.js';
import { StatsService } from './protocol/stats.service.js';
import { UnsupportedController } from './protocol/unsupported.controller.js';
import { AsyncInferenceService } from './rest/async-inference.service.js';
import { InferencesController } from './rest/inferences.controller.js';
import { LanesController } from './rest/lanes.controller.js';
import { ModelsController } from './rest/models.controller.js';
import { WarmupsController } from './rest/warmups.controller.js';
import { WorkersController } from './rest/workers.controller.js';

@Module({})
class AppModule {}

/** The API's controllers and services over the parts that were made for them. */
export function apiModule(config: ApiConfig, parts: ApiParts): DynamicModule {
  return {
    module: AppModule,
    controllers: [
      HealthController,
      MetricsController,
      ServerController,
      ModelController,
      InferController,
      RepositoryController,
      UnsupportedController,
      ModelsController,
      InferencesController,
      LanesController,
      WarmupsController,
      WorkersController,
    ],
    providers: [
      { provide: ApiConfig, useValue: config },
      ...parts.providers(),
      FleetMetrics,
      FleetService,
      ModelDirectory,
      HealthService,
      AnswerBlobs,
      AsyncInferenceService,
      IdempotentInference,
      InferBody,
      InferService,
      RepositoryService,
      StatsService,
    ],
  };
}
