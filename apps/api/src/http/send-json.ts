import type { FastifyReply } from 'fastify';

/**
 * Sends JSON under exactly `application/json`. As bytes, because Fastify adds `; charset=utf-8` to the type of anything
 * else, and KServe's client compares the type with `==`.
 */
export function sendJson(reply: FastifyReply, body: unknown, status = 200): void {
  void reply
    .code(status)
    .header('content-type', 'application/json')
    .send(Buffer.from(JSON.stringify(body)));
}
