import { HttpException } from '@nestjs/common';
import type { FastifyInstance, HTTPMethods } from 'fastify';
import { isProtocol } from './error.filter.js';

const METHODS: HTTPMethods[] = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'];

/**
 * The protocol's routes answer 405 to a method they do not have, where Fastify would say 404. `watch` is called before
 * the routes are made, `complete` after.
 */
export class MethodNotAllowed {
  readonly #methods = new Map<string, Set<string>>();

  watch(fastify: FastifyInstance): void {
    fastify.addHook('onRoute', ({ url, method }) => {
      if (!isProtocol(url)) return;
      const known = this.#methods.get(url) ?? new Set<string>();
      for (const one of [method].flat()) known.add(one);
      this.#methods.set(url, known);
    });
  }

  complete(fastify: FastifyInstance): void {
    for (const [url, known] of [...this.#methods]) {
      const allow = [...known].join(', ');
      const missing = METHODS.filter((method) => !known.has(method));
      if (missing.length === 0) continue;
      fastify.route({
        method: missing,
        url,
        handler: (_request, reply) => {
          reply.header('allow', allow);
          throw new HttpException('Method Not Allowed', 405);
        },
      });
    }
  }
}
