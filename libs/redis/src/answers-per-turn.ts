import type { Redis } from 'ioredis';
import { keys } from './keys.js';
import { REPLY_TTL_MS } from './lifetimes.js';
import { runScript } from './scripts.js';

/** Names kept for a producer that reads late; at 4,000 answers per second that is 2.5 s of outage, the rest is swept. */
const STREAM_LENGTH = 10_000;
/** Answers up to this size stand in the stream: whoever waits is spared a trip to Redis. 10 MB per producer at most. */
const STREAMED_BYTES = 1_024;
/** Answers of one script: it holds Redis up for all of them. */
const MOST = 16;
const MOST_BYTES = 256 * 1024;

interface Waiting {
  request: string;
  producer: string;
  value: Buffer;
  ttlMs: number;
  resolve: (written: boolean) => void;
  reject: (error: unknown) => void;
}

/**
 * Writes the answers that end in one turn of the event loop, such as those of a batch, with one script: most of what an
 * answer costs here and in Redis is the call. Where the script fails each of them may or may not be written, as with a
 * script of its own whose connection is lost.
 */
export class AnswersPerTurn {
  #waiting: Waiting[] = [];

  constructor(private readonly redis: Redis) {}

  /** True where this answer was the first. */
  add(request: string, producer: string, value: Buffer, ttlMs: number): Promise<boolean> {
    return new Promise<boolean>((resolve, reject) => {
      // After the microtasks of this turn: what they answer goes along.
      if (this.#waiting.length === 0) process.nextTick(() => this.#send());
      this.#waiting.push({ request, producer, value, ttlMs, resolve, reject });
    });
  }

  #send(): void {
    const all = this.#waiting;
    this.#waiting = [];
    let group: Waiting[] = [];
    let bytes = 0;
    for (const one of all) {
      if (group.length > 0 && (group.length >= MOST || bytes + one.value.byteLength > MOST_BYTES)) {
        void this.#write(group);
        group = [];
        bytes = 0;
      }
      group.push(one);
      bytes += one.value.byteLength;
    }
    void this.#write(group);
  }

  async #write(group: readonly Waiting[]): Promise<void> {
    try {
      const reply = await runScript(
        this.redis,
        'answerRequests',
        group.flatMap(({ request, producer }) => [keys.reply(request), keys.replies(producer), keys.result(request)]),
        [
          REPLY_TTL_MS,
          STREAM_LENGTH,
          STREAMED_BYTES,
          ...group.flatMap(({ request, value, ttlMs }) => [value, ttlMs, request]),
        ],
      );
      const written = Array.isArray(reply) ? reply : [];
      group.forEach(({ resolve }, at) => {
        resolve(written[at] === 1);
      });
    } catch (error) {
      for (const { reject } of group) reject(error);
    }
  }
}
