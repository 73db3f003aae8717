import { Controller, Get, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { HealthService } from '../health/health.service.js';
import { sendJson } from '../http/send-json.js';
import { SERVER_VERSION } from '../version.js';

const EXTENSIONS = ['binary_tensor_data', 'model_repository', 'model_configuration', 'statistics', 'parameters'];

/** The server itself: metadata and health. */
@Controller('v2')
export class ServerController {
  constructor(private readonly health: HealthService) {}

  @Get()
  metadata(@Res() reply: FastifyReply): void {
    sendJson(reply, { name: 'warmlane', version: SERVER_VERSION, extensions: EXTENSIONS });
  }

  @Get('health/live')
  live(@Res() reply: FastifyReply): void {
    sendJson(reply, { live: true });
  }

  @Get('health/ready')
  async ready(@Res() reply: FastifyReply): Promise<void> {
    const { ready, reasons } = await this.health.ready();
    if (ready) sendJson(reply, { ready, live: true });
    else
      sendJson(
        reply.header('warmlane-error', 'not-ready'),
        { error: reasons.join('; '), ready, live: true, reasons },
        503,
      );
  }
}
