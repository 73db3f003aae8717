import { Controller, Get, HttpCode, Param, Post, Query, UsePipes } from '@nestjs/common';
import { LaneStore, PlanStore } from '@warmlane/redis';
import { FleetService } from '../fleet/fleet.service.js';
import { RedisGate } from '../fleet/redis.gate.js';
import { type LaneQuery, laneQuerySchema } from './rest.schemas.js';
import { restValidation } from './validation.pipe.js';

/** Lanes: what is warm where, with the evidence. */
@Controller('v1/lanes')
@UsePipes(restValidation)
export class LanesController {
  constructor(
    private readonly fleet: FleetService,
    private readonly lanes: LaneStore,
    private readonly plans: PlanStore,
    private readonly gate: RedisGate,
  ) {}

  @Get()
  async list(@Query({ schema: laneQuerySchema }) query: LaneQuery) {
    return { lanes: await this.fleet.lanesOf(query) };
  }

  /** The shape stays in the plan, held back on this worker until a warm-up names it. One that is in no plan just ends. */
  @Post(':id/evict')
  @HttpCode(202)
  async evict(@Param('id') id: string) {
    const lane = await this.fleet.lane(id);
    await this.gate.use(async () => {
      const held = await this.plans.hold(lane.model, lane.version, lane.shapeKey, lane.worker);
      if (!held) await this.lanes.requestEvict(lane.id, lane.worker);
    });
    return { id: lane.id, state: lane.state, held: lane.worker };
  }

  @Post(':id/verify')
  @HttpCode(202)
  async verify(@Param('id') id: string) {
    const lane = await this.fleet.lane(id);
    await this.gate.use(() => this.lanes.requestVerify(lane.id, lane.worker));
    return { id: lane.id, state: lane.state };
  }
}
