import { Controller, Get, Param, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { FleetService } from '../fleet/fleet.service.js';
import { HealthService } from '../health/health.service.js';
import { sendJson } from '../http/send-json.js';
import { configView, metadataView } from './model-views.js';
import { checkVersion } from './route-params.js';
import { StatsService } from './stats.service.js';

const MODEL = 'models/:model';
const VERSION = 'models/:model/versions/:version';

/** A model: metadata, configuration, readiness, statistics. */
@Controller('v2')
export class ModelController {
  constructor(
    private readonly fleet: FleetService,
    private readonly health: HealthService,
    private readonly statistics: StatsService,
  ) {}

  @Get([MODEL, VERSION])
  async metadata(
    @Res() reply: FastifyReply,
    @Param('model') model: string,
    @Param('version') version?: string,
  ): Promise<void> {
    const doc = await this.fleet.model(model, checkVersion(version));
    const versions = await this.fleet.versions(model);
    const loaded = versions.filter((each) => each.state === 'LOADED').map((each) => each.version);
    sendJson(reply, metadataView(doc, loaded));
  }

  @Get([`${MODEL}/config`, `${VERSION}/config`])
  async config(
    @Res() reply: FastifyReply,
    @Param('model') model: string,
    @Param('version') version?: string,
  ): Promise<void> {
    const doc = await this.fleet.model(model, checkVersion(version));
    const plan = await this.fleet.plan(doc);
    sendJson(
      reply,
      configView(
        doc,
        plan.map((entry) => entry.shapeKey),
      ),
    );
  }

  @Get([`${MODEL}/ready`, `${VERSION}/ready`])
  async ready(
    @Res() reply: FastifyReply,
    @Param('model') model: string,
    @Param('version') version?: string,
  ): Promise<void> {
    const { ready, reasons } = await this.health.modelReady(model, checkVersion(version));
    if (ready) sendJson(reply, { name: model, ready });
    else
      sendJson(
        reply.header('warmlane-error', 'not-ready'),
        { error: reasons.join('; '), name: model, ready, reasons },
        503,
      );
  }

  @Get([`${MODEL}/stats`, `${VERSION}/stats`])
  async stats(
    @Res() reply: FastifyReply,
    @Param('model') model: string,
    @Param('version') version?: string,
  ): Promise<void> {
    const only = checkVersion(version);
    const docs = only === null ? await this.fleet.versions(model) : [await this.fleet.model(model, only)];
    sendJson(reply, await this.statistics.of(docs));
  }

  @Get('models/stats')
  async allStats(@Res() reply: FastifyReply): Promise<void> {
    sendJson(reply, await this.statistics.of(await this.fleet.list()));
  }
}
