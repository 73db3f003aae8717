import type { ServerResponse } from 'node:http';
import { Injectable } from '@nestjs/common';
import { DEFAULT_INFER_DEADLINE_MS, DEFAULT_PRIORITY, WarmlaneError } from '@warmlane/contracts';
import { StallMonitor } from '@warmlane/observability';
import { type InferAnswer, Producer } from '@warmlane/queues';
import { HeldTensor } from '@warmlane/shm';
import type { FastifyRequest } from 'fastify';
import { CodecPool } from '../codec/codec-pool.js';
import { encodeBinaryHead, outputForm } from '../codec/infer-answer.js';
import type { InferRequest } from '../codec/infer-request.js';
import { checkJsonOutput } from '../codec/json-writer.js';
import { FirstLoad } from '../fleet/first-load.js';
import { ModelDirectory } from '../fleet/model-directory.js';
import { abortedBy } from '../http/aborted-by.js';
import { choosePacking } from '../http/pack-body.js';
import type { BodyPart } from '../http/send-parts.js';
import { InferenceCounts } from '../metrics/inference-counts.js';
import { IdempotentInference } from './idempotent-inference.js';
import { InferBody } from './infer-body.js';
import { answerHeaders, idempotencyHeader } from './infer-headers.js';

export interface HttpAnswer {
  headers: Record<string, string>;
  body: Buffer;
}

/** An answer whose body is written part by part; whoever has it frees the parts. */
export interface PartedAnswer {
  headers: Record<string, string>;
  parts: BodyPart[];
}

/** One synchronous inference, from the request's bytes to the answer's. */
@Injectable()
export class InferService {
  constructor(
    private readonly bodies: InferBody,
    private readonly codec: CodecPool,
    private readonly models: ModelDirectory,
    private readonly firstLoad: FirstLoad,
    private readonly producer: Producer,
    private readonly idempotent: IdempotentInference,
    private readonly counts: InferenceCounts,
    private readonly stalls: StallMonitor,
  ) {}

  /** `response` tells when the client leaves: then a job that has not begun is taken out of its queue. */
  async infer(
    request: FastifyRequest,
    response: ServerResponse,
    model: string,
    version: string | null,
  ): Promise<PartedAnswer> {
    const startedAt = performance.now();
    const leave = this.stalls.enter(`infer ${model}`);
    this.counts.take(request);
    try {
      const decoded = await this.bodies.read(request, model, version);
      const form = outputForm(decoded.outputs, decoded.binaryOutput);
      await this.checkForms(decoded, model, version);
      const answer = await this.firstLoad.during(() => this.#serve(request, response, decoded, model, version));
      // Answered: its job has read the inputs, and a second run of it answers nobody.
      if (request.bodyDigest === null) request.bodyDone?.();
      const encoded = await this.#parted(decoded, answer, form);
      this.counts.served(answer, performance.now() - startedAt);
      return encoded;
    } catch (error) {
      this.counts.failed(WarmlaneError.from(error).code, model, version, performance.now() - startedAt);
      throw error;
    } finally {
      leave();
    }
  }

  #serve(
    request: FastifyRequest,
    response: ServerResponse,
    decoded: InferRequest,
    model: string,
    version: string | null,
  ): Promise<InferAnswer> {
    const submission = {
      model,
      version,
      inputs: decoded.inputs,
      outputs: decoded.outputs?.map((output) => output.name) ?? null,
      deadlineMs: decoded.deadlineMs ?? DEFAULT_INFER_DEADLINE_MS,
      priority: decoded.priority ?? DEFAULT_PRIORITY,
    };
    const key = idempotencyHeader(request.headers);
    if (key !== null && request.bodyDigest !== null) {
      const scope = { apiKey: request.caller.id, model, version: version ?? '', key };
      return this.idempotent.infer({ scope, bodyDigest: request.bodyDigest, submission });
    }
    return this.producer.infer({
      ...submission,
      version: version ?? undefined,
      outputs: submission.outputs ?? undefined,
      signal: abortedBy(response),
      holdOutputs: isBinary(decoded) && choosePacking(request.headers['accept-encoding']) === null,
    });
  }

  /** Refuses outputs that were asked for as JSON and have no such form, before anything is computed. */
  async checkForms(decoded: InferRequest, model: string, version: string | null): Promise<void> {
    const form = outputForm(decoded.outputs, decoded.binaryOutput);
    if (isBinary(decoded)) return;
    const { metadata } = await this.models.servable(model, version);
    const wanted = decoded.outputs?.map((output) => output.name) ?? null;
    for (const info of metadata.outputs) {
      const asked = wanted === null || wanted.includes(info.name);
      if (asked && !form(info.name)) checkJsonOutput(info.name, info.dtype);
    }
  }

  /** Binary outputs stay parts: putting them together costs new memory and a copy. */
  async #parted(decoded: InferRequest, answer: InferAnswer, form: (name: string) => boolean): Promise<PartedAnswer> {
    if (!isBinary(decoded) || answer.outputs.length === 0) {
      const { headers, body } = await this.encode(decoded, answer, form);
      return { headers, parts: [body] };
    }
    const { model, version, outputs } = answer;
    const head = encodeBinaryHead({ id: decoded.id, model, version }, outputs);
    return {
      headers: binaryHeaders(answer, head.byteLength),
      parts: [head, ...outputs.map((output) => (output instanceof HeldTensor ? output.held : output.data))],
    };
  }

  async encode(
    { id }: { id: string | null },
    answer: InferAnswer,
    form: (name: string) => boolean,
  ): Promise<HttpAnswer> {
    const { body, headBytes } = await this.codec.encode(
      { id, model: answer.model, version: answer.version },
      answer.outputs,
      form,
    );
    if (headBytes !== null) return { body, headers: binaryHeaders(answer, headBytes) };
    return { body, headers: { ...answerHeaders(answer), 'content-type': 'application/json' } };
  }
}

/** All outputs that it asks for are to come as raw bytes. */
function isBinary({ outputs, binaryOutput }: InferRequest): boolean {
  return outputs === null ? binaryOutput : outputs.every((output) => output.binary);
}

function binaryHeaders(answer: InferAnswer, headBytes: number): Record<string, string> {
  return {
    ...answerHeaders(answer),
    'content-type': 'application/octet-stream',
    'inference-header-content-length': String(headBytes),
  };
}
