import { setTimeout as delay } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import { newId, WarmlaneError } from '@warmlane/contracts';
import { type InferAnswer, Producer, type Submission, successOf } from '@warmlane/queues';
import { type Answer, type IdempotencyScope, IdempotencyStore, REPLY_TTL_MS } from '@warmlane/redis';
import { RedisGate } from '../fleet/redis.gate.js';
import { AnswerBlobs } from './answer-blobs.js';

/** The answer of a request that another connection waits for is looked for this often, ms. */
const LOOK_FIRST_MS = 10;
const LOOK_LAST_MS = 250;

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
      worker: head.worker,
      timing: { ...head.timing, totalMs: performance.now() - startedAt },
      outputs,
    };
  }

  async #serve({ scope, bodyDigest, submission }: IdempotentRequest, startedAt: number): Promise<Served> {
    const { name, version } = await this.gate.use(() => this.producer.resolve(submission.model, submission.version));
    const id = newId();
    // The version stands beside the id: the default one may be another by the time the answer is read.
    const mine = `${id}/${version}`;
    const ttlMs = submission.deadlineMs + REPLY_TTL_MS;
    for (let waitMs = LOOK_FIRST_MS; ; waitMs = Math.min(2 * waitMs, LOOK_LAST_MS)) {
      const claim = await this.gate.use(() => this.keys.claim(scope, bodyDigest, mine, ttlMs));
      if (claim.kind === 'conflict') throw conflict(scope.key);
      if (claim.kind === 'new') return this.#run(id, mine, version, { scope, bodyDigest, submission });
      const [request = '', answered = version] = claim.request.split('/');
      const answer = await this.gate.use(() => this.producer.findAnswer(request));
      if (answer !== null) return { model: name, version: answered, answer };
      if (performance.now() - startedAt > submission.deadlineMs) throw late();
      await delay(waitMs);
    }
  }

  async #run(
    id: string,
    mine: string,
    version: string,
    { scope, bodyDigest, submission }: IdempotentRequest,
  ): Promise<Served> {
    let served: Served;
    try {
      served = await this.producer.submit({
        ...submission,
        version,
        signal: null,
        answerBlobTtlMs: REPLY_TTL_MS,
        resume: { request: id, deadlineAt: null, queue: null, onRouted: () => Promise.resolve() },
      });
    } catch (error) {
      await this.keys.release(scope, bodyDigest, mine).catch(() => false);
      throw error;
    }
    const { head } = served.answer;
    // A failure that may pass when it is sent again must be free to be sent again.
    const again = !head.ok && head.error.retryable;
    await this.gate.use(() =>
      again ? this.keys.release(scope, bodyDigest, mine) : this.keys.settle(scope, bodyDigest, mine),
    );
    return served;
  }
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
