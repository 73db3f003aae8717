import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import type { Answer } from './answer.codec.js';
import { duplicateRedis } from './client.js';
import { keys } from './keys.js';
import { LateAnswers, type OnLate } from './late-answers.js';
import type { RedisLogger } from './logger.js';
import type { ReplyStore } from './reply.store.js';

const READ_AT_ONCE = 200;
/**
 * Answers handed out before everything else has its turn: whoever waited sends its answer at once, 1 MB of it takes 1 to 2 ms,
 * and 200 of them in a row are a stall.
 */
const HANDED_AT_ONCE = 8;
const BLOCK_MS = 5_000;
/** A blocked read answers after 5 s even without news; later than this the connection is dead though open. */
const SILENT_MS = BLOCK_MS + 3_000;
const DEFAULT_SWEEP_EVERY_MS = 1_000;
/** MGETs of a sweep: answers are up to 64 kB. */
const SWEEP_AT_ONCE = 100;
const RETRY_MS = 200;

interface Waiting {
  since: number;
  settle: (answer: Answer) => void;
}

/**
 * Hands each answer to whoever waits for it in this process. It reads the producer's stream, in which small answers stand
 * themselves and large ones by name, on a connection of its own, and resumes after the last id it saw, so a broken
 * connection misses nothing; once a second it also asks for requests that have waited for more than 1 s, in case the
 * stream was lost with Redis's memory.
 */
export class ReplyReader {
  readonly #store: ReplyStore;
  readonly #stream: string;
  readonly #connection: Redis;
  readonly #logger: RedisLogger | null;
  readonly #waiting = new Map<string, Waiting>();
  readonly #late = new LateAnswers();
  #lastId = '0-0';
  #lastReadAt = performance.now();
  #closed = false;
  readonly #sweepEveryMs: number;
  #sweeping = false;
  #swept = 0;
  readonly #sweepTimer: NodeJS.Timeout;
  readonly #loop: Promise<void>;

  /**
   * @param redis client to duplicate for the blocking read
   * @param producer the id that jobs of this process carry
   * @param options `sweepEveryMs`: how often to ask for requests that have waited for as long; 1 s by default
   */
  constructor(
    redis: Redis,
    store: ReplyStore,
    producer: string,
    logger?: RedisLogger,
    options: { sweepEveryMs?: number } = {},
  ) {
    this.#sweepEveryMs = options.sweepEveryMs ?? DEFAULT_SWEEP_EVERY_MS;
    this.#store = store;
    this.#stream = keys.replies(producer);
    this.#logger = logger ?? null;
    this.#connection = duplicateRedis(redis, 'replies');
    this.#sweepTimer = setInterval(() => this.#onSweepTimer(), this.#sweepEveryMs);
    this.#sweepTimer.unref();
    this.#loop = this.#run();
  }

  /** Requests that wait for an answer. */
  get size(): number {
    return this.#waiting.size;
  }

  /** Answers that were found by asking, not by their name in the stream: 0 unless names were lost. */
  get swept(): number {
    return this.#swept;
  }

  /**
   * Calls `settle` once with the request's answer. Call it before the job is added. Whoever stops waiting (deadline,
   * client gone) calls {@link forget}.
   */
  expect(request: string, settle: (answer: Answer) => void): void {
    this.#waiting.set(request, { since: performance.now(), settle });
  }

  /** False where the answer was already handed out, or nobody waited. */
  forget(request: string): boolean {
    return this.#waiting.delete(request);
  }

  /**
   * Nobody waits for the request any more; `then` is called once if its answer comes after all within `ttlMs`: what the
   * answer's tensors take can be given back.
   */
  watchLate(request: string, ttlMs: number, then: OnLate): void {
    this.#late.add(request, ttlMs, then);
  }

  /** The request will not be answered: its job was taken out. Ends {@link watchLate} with null. */
  neverComes(request: string): void {
    this.#late.settle(request, null);
  }

  /** Stops reading; requests that still wait get nothing. */
  async close(): Promise<void> {
    if (this.#closed) return this.#loop;
    this.#closed = true;
    clearInterval(this.#sweepTimer);
    this.#connection.disconnect();
    await this.#loop;
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      try {
        const reply = await this.#connection.xreadBuffer(
          'COUNT',
          READ_AT_ONCE,
          'BLOCK',
          BLOCK_MS,
          'STREAMS',
          this.#stream,
          this.#lastId,
        );
        this.#lastReadAt = performance.now();
        const entries = reply?.[0]?.[1] ?? [];
        // Names are passed over only once their answers were read: a failed read is read again.
        await this.#deliver(await this.#takeStreamed(entries.map(([, fields]) => fields)));
        this.#lastId = entries.at(-1)?.[0].toString() ?? this.#lastId;
      } catch (error) {
        if (this.#closed) return;
        this.#logger?.warn({ error: String(error) }, 'reading answers failed; trying again');
        await delay(RETRY_MS);
      }
    }
  }

  /** Hands out the answers that stand in the stream themselves; resolves to the names of the others. */
  async #takeStreamed(entries: readonly Buffer[][]): Promise<string[]> {
    const names: string[] = [];
    let handed = 0;
    for (const [, name, field, value] of entries) {
      const request = name?.toString() ?? '';
      if (!this.#waiting.has(request) && !this.#late.has(request)) continue;
      if (handed === HANDED_AT_ONCE) {
        handed = 0;
        await nextTurn();
      }
      handed += 1;
      const answer = value !== undefined && field?.toString() === 'a' ? this.#store.decode(value, request) : null;
      if (!this.#waiting.has(request)) this.#late.settle(request, answer);
      else if (answer !== null) this.#hand(request, answer);
      else names.push(request);
    }
    return names;
  }

  #onSweepTimer(): void {
    this.#late.tidy();
    if (performance.now() - this.#lastReadAt > SILENT_MS) {
      this.#lastReadAt = performance.now();
      this.#connection.disconnect(true);
    }
    if (this.#sweeping) return;
    this.#sweeping = true;
    this.#sweep()
      .catch((error: unknown) => this.#logger?.warn({ error: String(error) }, 'sweeping answers failed; trying again'))
      .finally(() => {
        this.#sweeping = false;
      });
  }

  async #sweep(): Promise<void> {
    const before = performance.now() - this.#sweepEveryMs;
    const old = Array.from(this.#waiting)
      .filter(([, { since }]) => since <= before)
      .map(([request]) => request);
    for (let at = 0; at < old.length; at += SWEEP_AT_ONCE) {
      this.#swept += await this.#deliver(old.slice(at, at + SWEEP_AT_ONCE));
    }
  }

  /** False where nobody waits. One that throws must not keep the others of its batch from their answers. */
  #hand(request: string, answer: Answer): boolean {
    const waiting = this.#waiting.get(request);
    if (waiting === undefined) return false;
    this.#waiting.delete(request);
    try {
      waiting.settle(answer);
    } catch (error) {
      this.#logger?.error({ request, error: String(error) }, 'an answer could not be handed out');
    }
    return true;
  }

  async #deliver(requests: readonly string[]): Promise<number> {
    const wanted = requests.filter((request) => this.#waiting.has(request));
    const answers = await this.#store.read(wanted);
    let delivered = 0;
    wanted.forEach((request, n) => {
      const answer = answers[n] ?? null;
      if (answer !== null && this.#hand(request, answer)) delivered += 1;
    });
    return delivered;
  }
}
