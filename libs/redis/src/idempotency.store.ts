import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import { keys } from './keys.js';
import { REPLY_TTL_MS } from './lifetimes.js';
import { runScript } from './scripts.js';

/** What an idempotency key belongs to. */
export interface IdempotencyScope {
  /** Id of the API key; empty where keys are not used. */
  apiKey: string;
  model: string;
  /** Empty where the request names none. */
  version: string;
  /** The header's value. */
  key: string;
}

/**
 * `new`: this request has the key and is to run. `same`: the same body came before; wait for the answer of `request`.
 * `conflict`: the key belongs to another body.
 */
export type IdempotencyClaim = { kind: 'new' } | { kind: 'same'; request: string } | { kind: 'conflict' };

/** Requests with the header `idempotency-key`: the same body gets the same answer, another body is refused. */
export class IdempotencyStore {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** Takes the key for a request until its deadline and 60 s more. `bodySha256` is hex. */
  async claim(scope: IdempotencyScope, bodySha256: string, request: string, ttlMs: number): Promise<IdempotencyClaim> {
    const mine = `${bodySha256} ${request}`;
    const reply = String(await runScript(this.#redis, 'claimIdempotency', [keyOf(scope)], [mine, Math.ceil(ttlMs)]));
    const [body = '', holder = ''] = reply.split(' ');
    if (holder === request) return { kind: 'new' };
    return body === bodySha256 ? { kind: 'same', request: holder } : { kind: 'conflict' };
  }

  /** After the answer: keeps the key as long as the answer, 60 s. False where another request has it. */
  settle(scope: IdempotencyScope, bodySha256: string, request: string): Promise<boolean> {
    return this.#end(scope, bodySha256, request, REPLY_TTL_MS);
  }

  /** The request never ran (refused before it was enqueued): lets go of the key. False where another request has it. */
  release(scope: IdempotencyScope, bodySha256: string, request: string): Promise<boolean> {
    return this.#end(scope, bodySha256, request, 0);
  }

  async #end(scope: IdempotencyScope, bodySha256: string, request: string, ttlMs: number): Promise<boolean> {
    const args = [`${bodySha256} ${request}`, ttlMs];
    return (await runScript(this.#redis, 'releaseIdempotency', [keyOf(scope)], args)) === 1;
  }
}

function keyOf({ apiKey, model, version, key }: IdempotencyScope): string {
  const text = JSON.stringify([apiKey, model, version, key]);
  return keys.idempotency(createHash('sha256').update(text).digest('hex'));
}
