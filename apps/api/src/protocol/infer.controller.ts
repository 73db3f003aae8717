import { Controller, Param, Post, Req, Res } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { choosePacking, packBody } from '../http/pack-body.js';
import { InferService } from './infer.service.js';
import { checkVersion } from './route-params.js';

/** Inference of the protocol. It writes its answer itself: the way through Nest's response handling costs time here. */
@Controller('v2/models/:model')
export class InferController {
  constructor(private readonly inference: InferService) {}

  @Post(['infer', 'versions/:version/infer'])
  async infer(
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
    @Param('model') model: string,
    @Param('version') version?: string,
  ): Promise<void> {
    const answer = await this.inference.infer(request, reply.raw, model, checkVersion(version));
    reply.headers(answer.headers);
    const packing = choosePacking(request.headers['accept-encoding']);
    const packed = packing === null ? null : await packBody(answer.body, packing);
    if (packing !== null) reply.header('vary', 'accept-encoding');
    if (packing !== null && packed !== null) reply.header('content-encoding', packing);
    void reply.code(200).send(packed ?? answer.body);
  }
}
