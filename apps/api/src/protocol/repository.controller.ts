import { Controller, HttpCode, Param, Post, Req, Res } from '@nestjs/common';
import { WarmlaneError } from '@warmlane/contracts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { FleetService } from '../fleet/fleet.service.js';
import { abortedBy } from '../http/aborted-by.js';
import { sendJson } from '../http/send-json.js';
import { indexEntry } from './model-views.js';
import { RepositoryService } from './repository.service.js';

const indexSchema = z.object({ ready: z.boolean().default(false) });
const loadSchema = z.object({ parameters: z.record(z.string(), z.unknown()).default({}) });

/** The model repository extension. */
@Controller('v2/repository')
export class RepositoryController {
  constructor(
    private readonly fleet: FleetService,
    private readonly repository: RepositoryService,
  ) {}

  @Post('index')
  async index(@Req() request: FastifyRequest, @Res() reply: FastifyReply): Promise<void> {
    const { ready } = readBody(indexSchema, request.body);
    const entries = (await this.fleet.list()).map(indexEntry);
    sendJson(reply, ready ? entries.filter((entry) => entry.state === 'READY') : entries);
  }

  @Post('models/:model/load')
  @HttpCode(200)
  async load(@Req() request: FastifyRequest, @Res() reply: FastifyReply, @Param('model') model: string): Promise<void> {
    const { parameters } = readBody(loadSchema, request.body);
    const sent = Object.keys(parameters).find((name) => name === 'config' || name.startsWith('file:'));
    if (sent !== undefined) {
      throw new WarmlaneError(
        'not-supported',
        `load parameter '${sent}' is not supported: models and their settings come from the repository folder`,
        'Put the files there and load without parameters.',
      );
    }
    await this.repository.load(model, abortedBy(reply.raw));
    void reply.code(200).send();
  }

  @Post('models/:model/unload')
  @HttpCode(200)
  async unload(@Res() reply: FastifyReply, @Param('model') model: string): Promise<void> {
    await this.repository.unload(model);
    void reply.code(200).send();
  }
}

/** An optional JSON body, whatever its content-type says. */
function readBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const text = Buffer.isBuffer(body) && body.byteLength > 0 ? body.toString('utf8') : '{}';
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new WarmlaneError(
      'bad-request',
      `the body is not valid JSON: ${error instanceof Error ? error.message : ''}`,
    );
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new WarmlaneError('bad-request', z.prettifyError(result.error));
}
