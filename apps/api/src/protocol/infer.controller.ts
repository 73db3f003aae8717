import { Controller, Param, Post, Req, Res } from '@nestjs/common';
import { HeldSlot } from '@warmlane/shm';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { choosePacking, packBody } from '../http/pack-body.js';
import { type BodyPart, bytesOfParts, freeParts, sendParts } from '../http/send-parts.js';
import { InferService } from './infer.service.js';
import { checkVersion } from './route-params.js';

/** Up to this a body is put together: one write costs less than several. */
const WHOLE_BYTES = 64 * 1024;

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
    const { headers, parts } = await this.inference.infer(request, reply.raw, model, checkVersion(version));
    reply.code(200).headers(headers);
    const packing = choosePacking(request.headers['accept-encoding']);
    if (packing === null && bytesOfParts(parts) > WHOLE_BYTES) return await this.#stream(reply, parts);
    const body = await wholeOf(parts);
    const packed = packing === null ? null : await packBody(body, packing);
    if (packing !== null) reply.header('vary', 'accept-encoding');
    if (packing !== null && packed !== null) reply.header('content-encoding', packing);
    void reply.send(packed ?? body);
  }

  /** Past Fastify, which knows buffers and streams: a stream cannot tell when memory that it gave may be used again. */
  #stream(reply: FastifyReply, parts: BodyPart[]): Promise<void> {
    reply.hijack();
    for (const [name, value] of Object.entries(reply.getHeaders())) {
      if (value !== undefined) reply.raw.setHeader(name, value);
    }
    reply.raw.setHeader('content-length', bytesOfParts(parts));
    return sendParts(reply.raw, parts);
  }
}

/** Small parts as one buffer; slots are read whole. */
async function wholeOf(parts: readonly BodyPart[]): Promise<Buffer> {
  try {
    const all = await Promise.all(
      parts.map(async (part) => (part instanceof HeldSlot ? await part.readFrom(0) : part)),
    );
    return Buffer.concat(all);
  } finally {
    freeParts(parts);
  }
}
