import { Controller, Get, Param, Post, Req, Res } from '@nestjs/common';
import { isVersion, WarmlaneError } from '@warmlane/contracts';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { sendJson } from '../http/send-json.js';
import { AsyncInferenceService } from './async-inference.service.js';

/** Inference in two steps: send, and fetch the answer later. */
@Controller('v1')
export class InferencesController {
  constructor(private readonly inferences: AsyncInferenceService) {}

  @Post('models/:model/versions/:version/infer')
  async accept(
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
    @Param('model') model: string,
    @Param('version') version: string,
  ): Promise<void> {
    if (!isVersion(version))
      throw new WarmlaneError('unknown-version', `'${version}' is no version`, 'Versions are numbers.');
    const id = await this.inferences.accept(request, model, version);
    sendJson(reply.header('location', `/v1/inferences/${id}`), { id }, 202);
  }

  @Get('inferences/:id')
  async fetch(@Req() request: FastifyRequest, @Res() reply: FastifyReply, @Param('id') id: string): Promise<void> {
    const answer = await this.inferences.fetch(id, request.caller.id);
    if (answer === null) sendJson(reply, { id, state: 'running' }, 202);
    else void reply.code(200).headers(answer.headers).send(answer.body);
  }
}
