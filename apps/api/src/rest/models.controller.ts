import { Controller, Delete, Get, HttpCode, Param, UsePipes } from '@nestjs/common';
import { parseShapeKey, WarmlaneError } from '@warmlane/contracts';
import { PlanStore } from '@warmlane/redis';
import { FleetService } from '../fleet/fleet.service.js';
import { RedisGate } from '../fleet/redis.gate.js';
import { modelsView, versionDetail } from './model-detail.js';
import { restValidation } from './validation.pipe.js';

/** Models, their versions and their warm plans. */
@Controller('v1/models')
@UsePipes(restValidation)
export class ModelsController {
  constructor(
    private readonly fleet: FleetService,
    private readonly plans: PlanStore,
    private readonly gate: RedisGate,
  ) {}

  @Get()
  async list() {
    const { models, plans, lanes } = await this.fleet.snapshot();
    return { models: modelsView(models, plans, lanes) };
  }

  @Get(':model/versions/:version')
  async one(@Param('model') model: string, @Param('version') version: string) {
    const doc = await this.fleet.model(model, version);
    const [plan, lanes] = await Promise.all([this.fleet.plan(doc), this.fleet.lanesOf({ model, version })]);
    return versionDetail(doc, plan, lanes);
  }

  @Delete(':model/versions/:version/plan/:shapeKey')
  @HttpCode(204)
  async removeShape(
    @Param('model') model: string,
    @Param('version') version: string,
    @Param('shapeKey') shapeKey: string,
  ): Promise<void> {
    parseShapeKey(shapeKey);
    const doc = await this.fleet.model(model, version);
    const removed = await this.gate.use(() => this.plans.remove(doc.name, doc.version, shapeKey));
    if (!removed) {
      throw new WarmlaneError(
        'not-found',
        `the plan of ${model}/${version} has no shape ${shapeKey}`,
        'GET /v1/models lists the plans.',
      );
    }
  }
}
