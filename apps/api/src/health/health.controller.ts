import { Controller, Get, Res } from '@nestjs/common';
import { WarmlaneError } from '@warmlane/contracts';
import type { FastifyReply } from 'fastify';
import { sendJson } from '../http/send-json.js';
import { HealthService } from './health.service.js';

/** Probes. Liveness depends on nothing but this process. */
@Controller('health')
export class HealthController {
  constructor(private readonly health: HealthService) {}

  @Get('live')
  live(@Res() reply: FastifyReply): void {
    sendJson(reply, { live: true });
  }

  @Get('ready')
  async ready(@Res() reply: FastifyReply): Promise<void> {
    const { ready, reasons } = await this.health.ready();
    if (ready) {
      sendJson(reply, { ready, reasons });
      return;
    }
    const error = new WarmlaneError('not-ready', reasons.join('; '), 'Wait, or see GET /v1/lanes for what keeps it.');
    sendJson(reply.header('warmlane-error', error.code), { ready, reasons, error: error.toBody() }, 503);
  }
}
