import { type AnswerHead, WarmlaneError } from '@warmlane/contracts';
import type { Redis } from 'ioredis';
import { type Answer, decodeAnswer, encodeAnswer } from './answer.codec.js';
import { keys } from './keys.js';
import { REPLY_TTL_MS } from './lifetimes.js';
import type { RedisLogger } from './logger.js';
import { runScript } from './scripts.js';

/** Names kept for a producer that reads late; at 4,000 answers per second that is 2.5 s of outage, the rest is swept. */
const STREAM_LENGTH = 10_000;
/** Answers up to this size stand in the stream: whoever waits is spared a trip to Redis. 10 MB per producer at most. */
const STREAMED_BYTES = 1_024;

/** Answers to requests: each is written once, under the request's internal id. */
export class ReplyStore {
  readonly #redis: Redis;
  readonly #logger: RedisLogger | null;

  constructor(redis: Redis, logger?: RedisLogger) {
    this.#redis = redis;
    this.#logger = logger ?? null;
  }

  /**
   * Answers a request and tells its producer, in one script. False where it was answered before: the first answer stays.
   * `inline` has one entry per output of the head: its bytes, or null where the head names a blob. Write blobs before.
   * An asynchronous inference's record ends with its answer.
   */
  async answer(
    request: string,
    producer: string,
    head: AnswerHead,
    inline: readonly (Uint8Array | null)[] = [],
    ttlMs = REPLY_TTL_MS,
  ): Promise<boolean> {
    const reply = await runScript(
      this.#redis,
      'answerRequest',
      [keys.reply(request), keys.replies(producer), keys.result(request)],
      [encodeAnswer(head, inline), ttlMs, request, REPLY_TTL_MS, STREAM_LENGTH, STREAMED_BYTES],
    );
    return reply === 1;
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
