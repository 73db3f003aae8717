import { Injectable } from '@nestjs/common';
import { orderInputs, WarmlaneError } from '@warmlane/contracts';
import type { FastifyRequest } from 'fastify';
import { CodecPool } from '../codec/codec-pool.js';
import { decodeRawRequest, type InferRequest, TensorDataError } from '../codec/infer-request.js';
import { ApiConfig } from '../config/api.config.js';
import { ModelDirectory } from '../fleet/model-directory.js';
import { unpackBody } from '../http/read-body.js';
import { deadlineHeader, headLength, priorityHeader } from './infer-headers.js';

/** Reads the body of an inference, whichever of the protocol's forms it has. */
@Injectable()
export class InferBody {
  constructor(
    private readonly codec: CodecPool,
    private readonly models: ModelDirectory,
    private readonly config: ApiConfig,
  ) {}

  /**
   * Throws `bad-request`, `too-large`, `not-supported`, `overloaded`; for a raw body, and one whose data is refused, also
   * what the model's look-up does.
   */
  async read(request: FastifyRequest, model: string, version: string | null): Promise<InferRequest> {
    const body = await this.#plainBody(request);
    const head = headLength(request.headers, body.byteLength);
    const decoded =
      head === 0
        ? decodeRawRequest(body, (await this.models.servable(model, version)).metadata)
        : await this.#decode(body, head, model, version);
    decoded.deadlineMs = deadlineHeader(request.headers) ?? decoded.deadlineMs;
    decoded.priority = priorityHeader(request.headers) ?? decoded.priority;
    return decoded;
  }

  /** A name, dtype, rank or dimension that the model does not have is told before a count that disagrees. */
  async #decode(body: Buffer, head: number | null, model: string, version: string | null): Promise<InferRequest> {
    try {
      return await this.codec.decode(body, head);
    } catch (thrown) {
      if (thrown instanceof TensorDataError) {
        orderInputs((await this.models.servable(model, version)).metadata, thrown.specs);
      }
      throw thrown;
    }
  }

  async #plainBody(request: FastifyRequest): Promise<Buffer> {
    const { body } = request;
    if (!Buffer.isBuffer(body))
      throw new WarmlaneError('bad-request', 'the request has no body', 'Send JSON, or JSON and raw tensors.');
    const encoding = request.headers['content-encoding'];
    if (encoding === undefined) return body;
    return unpackBody(body, encoding, { limit: this.config.bodyLimitBytes, reservation: request.reservation });
  }
}
