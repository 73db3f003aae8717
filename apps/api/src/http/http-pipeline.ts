import { createHash } from 'node:crypto';
import { WarmlaneError } from '@warmlane/contracts';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ApiConfig } from '../config/api.config.js';
import { type Access, accessOf, KeyRing } from './access.js';
import { BodyMemory } from './body-memory.js';
import { BytesInFlight, Reservation } from './bytes-in-flight.js';
import { isProtocol } from './error.filter.js';
import { bodyTooLarge, readBody } from './read-body.js';
import './request-context.js';

/** What happens to every request before its controller: who sent it, is there room for its body, its bytes. */
export class HttpPipeline {
  readonly bytes: BytesInFlight;
  readonly #memory = new BodyMemory();
  readonly #keys: KeyRing;
  readonly #access = new Map<string, Access>();

  constructor(private readonly config: ApiConfig) {
    this.bytes = new BytesInFlight(config.bodiesInFlightBytes);
    this.#keys = new KeyRing(config.keys);
  }

  install(fastify: FastifyInstance): void {
    // Typed as absent until the first hook sets them, which runs before anything reads them.
    fastify.decorateRequest('bodyDigest', null);
    fastify.decorateRequest('bodyDone', null);
    fastify.addHook('onRequest', (request, reply, done) => {
      try {
        this.#admit(request, reply);
        done();
      } catch (error) {
        done(WarmlaneError.from(error));
      }
    });
    fastify.removeAllContentTypeParsers();
    fastify.addContentTypeParser('*', (request: FastifyRequest) => this.#read(request));
  }

  #admit(request: FastifyRequest, reply: FastifyReply): void {
    // Clients of the protocol send no content-type, or a wrong one; Fastify would refuse a malformed one.
    delete request.raw.headers['content-type'];
    request.caller = this.#keys.admit(request.headers.authorization, this.#accessOf(request));
    const reservation = new Reservation(this.bytes);
    request.reservation = reservation;
    reply.raw.once('close', () => reservation.release());
    const declared = declaredLength(request);
    if (declared === null) return;
    if (declared > this.config.bodyLimitBytes) throw bodyTooLarge(this.config.bodyLimitBytes);
    reservation.add(declared);
  }

  /** A path without a route asks for any key, so that a stranger cannot tell which paths there are. */
  #accessOf(request: FastifyRequest): Access {
    const route = request.routeOptions.url;
    if (route === undefined || request.is404) return 'infer';
    const id = `${request.method} ${route}`;
    let access = this.#access.get(id);
    if (access === undefined) {
      access = accessOf(request.method, route, this.config.http.loopback);
      this.#access.set(id, access);
    }
    return access;
  }

  async #read(request: FastifyRequest): Promise<unknown> {
    const hash = request.headers['idempotency-key'] === undefined ? null : createHash('sha256');
    const limits = { limit: this.config.bodyLimitBytes, reservation: request.reservation };
    // Only raw tensors: JSON is read into new memory anyway, and its bytes may move to a thread.
    const memory = request.headers['inference-header-content-length'] === undefined ? null : this.#memory;
    const body = await readBody(request.raw, declaredLength(request), limits, hash, memory);
    request.bodyDone = memory === null ? () => undefined : () => memory.give(body);
    request.bodyDigest = hash?.digest('hex') ?? null;
    const raw = isProtocol(request.url) || request.routeOptions.url?.endsWith('/infer') === true;
    return raw ? body : parseJson(body);
  }
}

function declaredLength(request: FastifyRequest): number | null {
  const text = request.headers['content-length'];
  return text === undefined ? null : Number(text);
}

function parseJson(body: Buffer): unknown {
  if (body.byteLength === 0) return undefined;
  try {
    return JSON.parse(body.toString('utf8'));
  } catch (error) {
    throw new WarmlaneError(
      'bad-request',
      `the body is not valid JSON: ${error instanceof Error ? error.message : ''}`,
    );
  }
}
