import type { ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';

const LOOK_EVERY_MS = 50;

export interface DrainLimits {
  /** Longest wait for what is being answered, ms. */
  limitMs: number;
  /** False while nothing can be answered: Redis is away. */
  canAnswer: () => boolean;
  /** Longest wait of that kind, ms. */
  awayLimitMs: number;
}

/** The requests that are being answered. At the end they are waited for, and load balancers are told to leave. */
export class InFlight {
  readonly #open = new Set<ServerResponse>();
  #draining = false;

  /** True from the request to stop on. */
  get draining(): boolean {
    return this.#draining;
  }

  install(fastify: FastifyInstance): void {
    fastify.addHook('onRequest', (_request, reply, done) => {
      this.#open.add(reply.raw);
      reply.raw.once('close', () => this.#open.delete(reply.raw));
      if (this.#draining) reply.raw.shouldKeepAlive = false;
      done();
    });
    // A kept connection is not asked again by a client that was told so; the server itself says it to new requests only.
    fastify.addHook('onSend', (_request, reply, _payload, done) => {
      if (this.#draining) reply.header('connection', 'close');
      done();
    });
  }

  begin(): void {
    this.#draining = true;
    // For answers that write themselves, past Fastify.
    for (const response of this.#open) response.shouldKeepAlive = false;
  }

  /** Resolves once nothing is open, or with a limit. @returns how many requests are still open */
  async drained({ limitMs, canAnswer, awayLimitMs }: DrainLimits): Promise<number> {
    const startedAt = performance.now();
    let answeredAt = startedAt;
    for (;;) {
      const now = performance.now();
      if (canAnswer()) answeredAt = now;
      if (this.#open.size === 0 || now - startedAt >= limitMs || now - answeredAt >= awayLimitMs)
        return this.#open.size;
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  }
}
