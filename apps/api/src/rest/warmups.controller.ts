import { Body, Controller, Delete, Get, HttpCode, Param, Post, Res, UsePipes } from '@nestjs/common';
import type { WarmupView } from '@warmlane/contracts';
import { WarmupCoordinator } from '@warmlane/queues';
import type { FastifyReply } from 'fastify';
import { RedisGate } from '../fleet/redis.gate.js';
import { EventStreams } from './event-streams.js';
import { type WarmupBody, warmupRequestSchema } from './rest.schemas.js';
import { restValidation } from './validation.pipe.js';

/** Warm-ups: name shapes, and follow them until they are warm. */
@Controller('v1')
@UsePipes(restValidation)
export class WarmupsController {
  constructor(
    private readonly coordinator: WarmupCoordinator,
    private readonly gate: RedisGate,
    private readonly streams: EventStreams,
  ) {}

  @Post('models/:model/versions/:version/warmups')
  @HttpCode(202)
  async create(
    @Param('model') model: string,
    @Param('version') version: string,
    @Body({ schema: warmupRequestSchema }) body: WarmupBody,
  ) {
    const { id, state, total, reason } = await this.gate.use(() =>
      this.coordinator.create({ model, version, ...body }),
    );
    return { id, state, total, reason };
  }

  @Get('warmups/:id')
  view(@Param('id') id: string): Promise<WarmupView> {
    return this.gate.use(() => this.coordinator.view(id));
  }

  @Delete('warmups/:id')
  cancel(@Param('id') id: string): Promise<WarmupView> {
    return this.gate.use(() => this.coordinator.cancel(id));
  }

  /** Server-sent events: each `data:` is the warm-up as it is then, the last one in a final state. */
  @Get('warmups/:id/events')
  async events(@Param('id') id: string, @Res() reply: FastifyReply): Promise<void> {
    const leaving = new AbortController();
    const views = this.coordinator.watch(id, leaving.signal);
    // The first is waited for before the stream begins: an unknown id is still a plain 404.
    let next = await this.gate.use(() => views.next());
    const stream = this.streams.open(reply, () => leaving.abort());
    try {
      while (next.done !== true && stream.open) {
        stream.send(next.value);
        next = await views.next();
      }
    } finally {
      stream.end();
    }
  }
}
