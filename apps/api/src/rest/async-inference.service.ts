import { Injectable } from '@nestjs/common';
import {
  checkInputs,
  checkOutputs,
  DEFAULT_INFER_DEADLINE_MS,
  DEFAULT_PRIORITY,
  isErrorCode,
  isId,
  newId,
  WarmlaneError,
} from '@warmlane/contracts';
import { type InferAnswer, Producer, type Submission, type Submitted, successOf } from '@warmlane/queues';
import { type Answer, type InferenceDoc, InferenceStore, REPLY_TTL_MS, RedisClock } from '@warmlane/redis';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { outputForm } from '../codec/infer-answer.js';
import { ModelDirectory } from '../fleet/model-directory.js';
import { RedisGate } from '../fleet/redis.gate.js';
import { InferenceCounts } from '../metrics/inference-counts.js';
import { AnswerBlobs } from '../protocol/answer-blobs.js';
import { type HttpAnswer, InferService } from '../protocol/infer.service.js';
import { InferBody } from '../protocol/infer-body.js';

/** What the asker said of the form of his answer; kept with the inference until he fetches it. */
const noteSchema = z.object({
  id: z.string().nullable(),
  outputs: z.array(z.object({ name: z.string(), binary: z.boolean() })).nullable(),
  binaryOutput: z.boolean(),
});

/** An inference whose answer is fetched later, from any API process, for 60 s after it is there. */
@Injectable()
export class AsyncInferenceService {
  constructor(
    private readonly bodies: InferBody,
    private readonly inference: InferService,
    private readonly models: ModelDirectory,
    private readonly producer: Producer,
    private readonly inferences: InferenceStore,
    private readonly answers: AnswerBlobs,
    private readonly clock: RedisClock,
    private readonly gate: RedisGate,
    private readonly counts: InferenceCounts,
  ) {}

  /** Resolves with the id once the job is in its queue; errors as for a synchronous inference. */
  async accept(request: FastifyRequest, model: string, version: string): Promise<string> {
    const startedAt = performance.now();
    this.counts.take(request);
    try {
      return await this.#accept(request, model, version, startedAt);
    } catch (error) {
      this.counts.failed(WarmlaneError.from(error).code, model, version, performance.now() - startedAt);
      throw error;
    }
  }

  async #accept(request: FastifyRequest, model: string, version: string, startedAt: number): Promise<string> {
    const decoded = await this.bodies.read(request, model, version);
    await this.inference.checkForms(decoded, model, version);
    const found = await this.models.servable(model, version);
    const { key } = checkInputs(found.metadata, decoded.inputs);
    const outputs = checkOutputs(found.metadata, decoded.outputs?.map((output) => output.name) ?? null);
    const deadlineMs = decoded.deadlineMs ?? DEFAULT_INFER_DEADLINE_MS;
    const id = newId();
    const acceptedAt = this.clock.now();
    const deadlineAt = acceptedAt + deadlineMs;
    const doc = {
      id,
      owner: request.caller.id,
      model: found.name,
      version: found.version,
      shapeKey: key,
      acceptedAt,
      deadlineAt,
      note: JSON.stringify({ id: decoded.id, outputs: decoded.outputs, binaryOutput: decoded.binaryOutput }),
    };
    await this.gate.use(() => this.inferences.create(doc, deadlineMs + REPLY_TTL_MS));
    try {
      await this.#enqueue(startedAt, {
        model: found.name,
        version: found.version,
        inputs: decoded.inputs,
        outputs,
        deadlineMs,
        priority: decoded.priority ?? DEFAULT_PRIORITY,
        signal: null,
        answerBlobTtlMs: REPLY_TTL_MS,
        resume: { request: id, deadlineAt, queue: null, again: false, onRouted: () => Promise.resolve() },
      });
    } catch (error) {
      await this.inferences.remove(id).catch(() => undefined);
      throw error;
    }
    return id;
  }

  /** The answer, null while it runs. Throws `not-found` for an unknown id or another key's, else the inference's error. */
  async fetch(id: string, owner: string): Promise<HttpAnswer | null> {
    const found = isId(id) ? await this.gate.use(() => this.inferences.get(id, owner)) : null;
    if (found === null) {
      throw new WarmlaneError('not-found', `unknown inference '${id}'`, 'Answers are kept for 60 s after the end.');
    }
    const { doc, answer } = found;
    if (answer !== null) return this.#answer(doc, answer);
    if (this.clock.now() <= doc.deadlineAt) return null;
    throw new WarmlaneError(
      'deadline-exceeded',
      'the deadline passed before the answer was there',
      'Send it again with a longer deadline.',
    );
  }

  /** The job goes on when this process dies: it is in its queue then, and its answer lies in Redis. */
  #enqueue(startedAt: number, submission: Submission): Promise<void> {
    return new Promise((resolve, reject) => {
      let accepted = false;
      const onAccepted = (): void => {
        accepted = true;
        resolve();
      };
      this.producer.submit({ ...submission, onAccepted }).then(
        (submitted) => {
          resolve();
          this.#count(submitted, performance.now() - startedAt);
        },
        (thrown: unknown) => {
          // Once it is accepted the outcome lies under the request's id: a late rejection is counted, and told to nobody.
          const { code } = WarmlaneError.from(thrown);
          const { model, version } = submission;
          if (!accepted) reject(thrown);
          else if (code !== 'not-ready') this.counts.failed(code, model, version, performance.now() - startedAt);
        },
      );
    });
  }

  #count({ model, version, answer: { head } }: Submitted, elapsedMs: number): void {
    if (head.ok) {
      const timing = { ...head.timing, totalMs: elapsedMs };
      this.counts.served({ model, version, lane: head.lane, items: head.items ?? 1, timing }, elapsedMs);
    } else this.counts.failed(isErrorCode(head.error.code) ? head.error.code : 'internal', model, version, elapsedMs);
  }

  async #answer(doc: InferenceDoc, answer: Answer): Promise<HttpAnswer> {
    const head = successOf(answer);
    const note = noteSchema.parse(
      JSON.parse(doc.note === '' ? '{"id":null,"outputs":null,"binaryOutput":false}' : doc.note),
    );
    const { queueMs, gatherMs, copyMs, computeMs } = head.timing;
    const served: InferAnswer = {
      model: doc.model,
      version: doc.version,
      lane: head.lane,
      shapeKey: head.shapeKey,
      items: head.items ?? 1,
      worker: head.worker,
      timing: { ...head.timing, totalMs: queueMs + gatherMs + copyMs + computeMs },
      outputs: await this.answers.read(answer),
    };
    return this.inference.encode(note, served, outputForm(note.outputs, note.binaryOutput));
  }
}
