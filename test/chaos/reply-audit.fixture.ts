import { setTimeout as pause } from 'node:timers/promises';
import { keys } from '@warmlane/redis';
import type { Redis } from 'ioredis';

/** The streams keep 10,000 names for a minute: looked at this often, none is missed. */
const LOOK_EVERY_MS = 500;

/** Reads, beside the API, what workers tell it: the name of a request comes once for each answer that was written to it. */
export class ReplyAudit {
  readonly #answers = new Map<string, number>();
  readonly #last = new Map<string, string>();
  readonly #stop = new AbortController();

  constructor(private readonly redis: Redis) {
    void this.#follow();
  }

  /** Answers seen. */
  get count(): number {
    return this.#answers.size;
  }

  /** Requests that were answered more than once. */
  answeredTwice(): string[] {
    return [...this.#answers]
      .filter(([, times]) => times > 1)
      .map(([name, times]) => `request ${name} was answered ${times} times`);
  }

  /** Not awaited: with Redis away its last look may never return. */
  close(): void {
    this.#stop.abort();
  }

  async #follow(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      // Redis may be away: what it keeps is read when it is back.
      await this.#look().catch(() => undefined);
      await pause(LOOK_EVERY_MS, undefined, { signal: this.#stop.signal }).catch(() => undefined);
    }
  }

  async #look(): Promise<void> {
    for (const stream of await this.#streams()) {
      const last = this.#last.get(stream);
      const entries = await this.redis.xrange(stream, last === undefined ? '-' : `(${last}`, '+');
      for (const [id, [, name = '']] of entries) {
        this.#last.set(stream, id);
        this.#answers.set(name, (this.#answers.get(name) ?? 0) + 1);
      }
    }
  }

  async #streams(): Promise<string[]> {
    const found = new Set<string>();
    let cursor = '0';
    do {
      const [next, some] = await this.redis.scan(cursor, 'MATCH', `${keys.replies('')}*`, 'COUNT', 1000);
      for (const key of some) found.add(key);
      cursor = next;
    } while (cursor !== '0');
    return [...found];
  }
}
