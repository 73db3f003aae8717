import { type ArgumentsHost, Catch, type ExceptionFilter, HttpException } from '@nestjs/common';
import { type ErrorCode, WarmlaneError } from '@warmlane/contracts';
import type { Logger } from '@warmlane/observability';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { REQUEST_ENCODINGS } from './read-body.js';

const RETRY_AFTER_S = '1';
const MESSAGE_LIMIT = 2_000;

const CODE_OF_STATUS: Record<number, ErrorCode> = {
  400: 'bad-request',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'not-found',
  405: 'bad-request',
  413: 'too-large',
  414: 'bad-request',
  431: 'too-large',
  501: 'not-supported',
  503: 'not-ready',
};

/** An error as it leaves over HTTP; the status may be one that no code has (405). */
interface Failure {
  error: WarmlaneError;
  status: number;
}

/** Turns whatever was thrown into the form of the route: `{error: {...}}`, or under `/v2` `{"error": "text"}`. */
@Catch()
export class ErrorFilter implements ExceptionFilter {
  constructor(private readonly log: Logger) {}

  catch(thrown: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    this.answer(thrown, http.getRequest<FastifyRequest>(), http.getResponse<FastifyReply>());
  }

  answer(thrown: unknown, request: FastifyRequest, reply: FastifyReply): void {
    const failure = request.is404 && thrown instanceof HttpException ? noRoute(request) : failureOf(thrown);
    if (failure.error.code === 'internal') {
      this.log.error({ err: thrown, method: request.method, route: request.routeOptions.url }, 'request failed');
    }
    if (reply.sent || reply.raw.headersSent) {
      reply.raw.destroy();
      return;
    }
    sendFailure(failure, request, reply);
  }
}

/** Triton's own words, which clients compare. */
function noRoute(request: FastifyRequest): Failure {
  const message = isProtocol(request.url) ? 'Not Found' : `there is no ${request.method} ${request.url}`;
  const error = new WarmlaneError('not-found', message, isProtocol(request.url) ? '' : 'See /docs for the routes.');
  return { error, status: error.status };
}

function failureOf(thrown: unknown): Failure {
  if (thrown instanceof WarmlaneError) return { error: thrown, status: thrown.status };
  const status = statusOf(thrown);
  const code = status === null ? undefined : CODE_OF_STATUS[status];
  if (status === null || code === undefined) {
    // What the error says stays in the log: it may hold addresses and paths.
    const error = new WarmlaneError('internal', 'internal error', 'See the log of the API.', { cause: thrown });
    return { error, status: error.status };
  }
  return { error: new WarmlaneError(code, thrown instanceof Error ? thrown.message : String(thrown)), status };
}

/** Status of an error of Nest or Fastify. */
function statusOf(thrown: unknown): number | null {
  if (thrown instanceof HttpException) return thrown.getStatus();
  if (thrown instanceof Error && 'statusCode' in thrown && typeof thrown.statusCode === 'number')
    return thrown.statusCode;
  return null;
}

function sendFailure({ error, status }: Failure, request: FastifyRequest, reply: FastifyReply): void {
  reply.header('content-type', 'application/json').header('warmlane-error', error.code);
  if (status === 503) reply.header('retry-after', RETRY_AFTER_S);
  if (status === 401) reply.header('www-authenticate', 'Bearer');
  if (isProtocol(request.url)) {
    // Triton names the encodings it takes with every 501 of a body it could not read.
    if (status === 501) reply.header('accept-encoding', REQUEST_ENCODINGS);
    const text = error.hint === '' ? error.message : `${error.message}. ${error.hint}`;
    send(reply, status, { error: text.slice(0, MESSAGE_LIMIT) });
    return;
  }
  const body = error.toBody();
  send(reply, status, { error: { ...body, message: body.message.slice(0, MESSAGE_LIMIT) } });
}

export function isProtocol(url: string): boolean {
  return url === '/v2' || url.startsWith('/v2/') || url.startsWith('/v2?');
}

/** As bytes: Fastify adds `; charset=utf-8` to the type of a string, which KServe's client does not take for JSON. */
function send(reply: FastifyReply, status: number, body: unknown): void {
  void reply.code(status).send(Buffer.from(JSON.stringify(body)));
}
