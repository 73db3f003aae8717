import { setTimeout as delay } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import { newId, WarmlaneError } from '@warmlane/contracts';
import { type InferAnswer, Producer, type Submission, successOf } from '@warmlane/queues';
import {
  type Answer,
  type IdempotencyClaim,
  type IdempotencyScope,
  IdempotencyStore,
  REPLY_TTL_MS,
} from '@warmlane/redis';
import { RedisGate } from '../fleet/redis.gate.js';
import { AnswerBlobs } from './answer-blobs.js';

/** The answer of a request that another connection waits for is looked for this often, ms. */
const LOOK_FIRST_MS = 10;
const LOOK_LAST_MS = 250;
/**
 * After this the request is added again under its own id: whoever took the key may have died before it added it. A job
 * that is there already is not added twice, and one that was answered is not run.
 */
const JOIN_AFTER_MS = 2_000;

export interface IdempotentRequest {
  scope: IdempotencyScope;
  /** SHA-256 of the body, hex. */
  bodyDigest: string;
  submission: Omit<Submission, 'answerBlobTtlMs' | 'resume' | 'signal'>;
}

interface Served {
  model: string;
  version: string;
  answer: Answer;
}

/**
 * Inferences with an idempotency key: the same body gets the same answer for 60 s, also while the first is still under
 * way and from another API instance. The job is not taken back when its client leaves: he will ask again.
 */
@Injectable()
export class IdempotentInference {
  constructor(
    private readonly producer: Producer,
    private readonly keys: IdempotencyStore,
    private readonly answers: AnswerBlobs,
    private readonly gate: RedisGate,
  ) {}

  /** Rejects `conflict` where the key came with another body, else as `Producer.infer`. */
  async infer(request: IdempotentRequest): Promise<InferAnswer> {
    const startedAt = performance.now();
    const { model, version, answer } = await this.#serve(request, startedAt);
    const head = successOf(answer);
    const outputs = await this.answers.read(answer);
    return {
      model,
      version,
      lane: head.lane,
      shapeKey: head.shapeKey,
      items: head.items ?? 1,
      worker: head.worker,
      timing: { ...head.timing, totalMs: performance.now() - startedAt },
      outputs,
    };
  }

  async #serve({ scope, bodyDigest, submission }: IdempotentRequest, startedAt: number): Promise<Served> {
    const { name, version } = await this.gate.use(() => this.producer.resolve(submission.model, submission.version));
    // The version stands beside the id: the default one may be another by the time the answer is read.
    const mine = `${newId()}/${version}`;
    const ttlMs = submission.deadlineMs + REPLY_TTL_MS;
    const run = { scope, bodyDigest, submission };
    for (let waitMs = LOOK_FIRST_MS; ; waitMs = Math.min(2 * waitMs, LOOK_LAST_MS)) {
      const claim = await this.#claim(scope, bodyDigest, mine, ttlMs);
      if (claim.kind === 'conflict') throw conflict(scope.key);
      if (claim.kind === 'new') return this.#run(mine, run, false);
      const answer = await this.gate.use(() => this.producer.findAnswer(parse(claim.request).request));
      if (answer !== null) return { model: name, version: parse(claim.request).version, answer };
      const waitedMs = performance.now() - startedAt;
      if (waitedMs > submission.deadlineMs) throw late();
      if (waitedMs > JOIN_AFTER_MS) return this.#run(claim.request, run, true);
      await delay(waitMs);
    }
  }

  async #claim(scope: IdempotencyScope, bodyDigest: string, mine: string, ttlMs: number): Promise<IdempotencyClaim> {
    const claiming = this.keys.claim(scope, bodyDigest, mine, ttlMs);
    try {
      return await this.gate.use(() => claiming);
    } catch (error) {
      // Redis may still get to it, for a request that is refused now.
      claiming.then(() => this.keys.release(scope, bodyDigest, mine)).catch(() => undefined);
      throw error;
    }
  }

  /** @param again another one took the key: its job may be there, or even answered */
  async #run(holder: string, { scope, bodyDigest, submission }: IdempotentRequest, again: boolean): Promise<Served> {
    const { request, version } = parse(holder);
    // Not awaited below: with Redis away it would hold up the answer, and it is done when Redis is back.
    const background = (end: Promise<boolean>): void => void end.catch(() => false);
    try {
      const served = await this.producer.submit({
        ...submission,
        version,
        signal: null,
        answerBlobTtlMs: REPLY_TTL_MS,
        resume: { request, deadlineAt: null, queue: null, again, onRouted: () => Promise.resolve() },
      });
      const { head } = served.answer;
      // A failure that may pass when it is sent again must be free to be sent again.
      const free = !head.ok && head.error.retryable;
      background(free ? this.keys.release(scope, bodyDigest, holder) : this.keys.settle(scope, bodyDigest, holder));
      return served;
    } catch (error) {
      if (!again) background(this.keys.release(scope, bodyDigest, holder));
      throw error;
    }
  }
}

/** Who holds a key: a request, and the version that it goes to. */
function parse(holder: string): { request: string; version: string } {
  const [request = '', version = ''] = holder.split('/');
  return { request, version };
}

function conflict(key: string): WarmlaneError {
  return new WarmlaneError(
    'conflict',
    `idempotency-key '${key}' was used for another body less than a minute ago`,
    'Use a new key for each new request.',
  );
}

function late(): WarmlaneError {
  return new WarmlaneError(
    'deadline-exceeded',
    'the request with this idempotency-key is not answered yet',
    'Send it again.',
  );
}
