import { type AnswerHead, WarmlaneError } from '@warmlane/contracts';
import type { Redis } from 'ioredis';
import { type Answer, decodeAnswer, encodeAnswer } from './answer.codec.js';
import { AnswersPerTurn } from './answers-per-turn.js';
import { keys } from './keys.js';
import { REPLY_TTL_MS } from './lifetimes.js';
import type { RedisLogger } from './logger.js';

/** Answers to requests: each is written once, under the request's internal id. */
export class ReplyStore {
  readonly #redis: Redis;
  readonly #logger: RedisLogger | null;
  readonly #answers: AnswersPerTurn;

  constructor(redis: Redis, logger?: RedisLogger) {
    this.#redis = redis;
    this.#logger = logger ?? null;
    this.#answers = new AnswersPerTurn(redis);
  }

  /**
   * Answers a request and tells its producer, in one script, together with those answered in the same turn of the event
   * loop. False where it was answered before: the first answer stays. `inline` has one entry per output of the head: its
   * bytes, or null where the head names a blob. Write blobs before.
   * An asynchronous inference's record ends with its answer.
   */
  async answer(
    request: string,
    producer: string,
    head: AnswerHead,
    inline: readonly (Uint8Array | null)[] = [],
    ttlMs = REPLY_TTL_MS,
  ): Promise<boolean> {
    return this.#answers.add(request, producer, encodeAnswer(head, inline), ttlMs);
  }

  /**
   * The answers, in the requests' order; null where there is none (yet, or any more). One that cannot be decoded is given
   * as a failure and logged, so that it does not keep the others from being read.
   */
  async read(requests: readonly string[]): Promise<(Answer | null)[]> {
    if (requests.length === 0) return [];
    const values = await this.#redis.mgetBuffer(requests.map(keys.reply));
    return values.map((value, n) => (value === null ? null : this.decode(value, requests[n] ?? '')));
  }

  /** As {@link read}, for bytes that came another way. */
  decode(value: Buffer, request: string): Answer {
    try {
      return decodeAnswer(value);
    } catch (error) {
      const body = WarmlaneError.from(error).toBody();
      this.#logger?.warn({ request, bytes: value.byteLength }, `${body.message}: its request fails. ${body.hint}`);
      return { head: { ok: false, error: body }, inline: [] };
    }
  }

  /** True where the request is answered: a job that runs again asks this first. */
  async exists(request: string): Promise<boolean> {
    return (await this.#redis.exists(keys.reply(request))) === 1;
  }
}
