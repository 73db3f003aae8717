import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Logger } from '@warmlane/observability';
import { apiModule } from '../app.module.js';
import type { ApiConfig } from '../config/api.config.js';
import { installDocs } from '../docs/install-docs.js';
import { ErrorFilter } from '../http/error.filter.js';
import { HttpPipeline } from '../http/http-pipeline.js';
import { MethodNotAllowed } from '../http/method-not-allowed.js';
import { FleetMetrics } from '../metrics/fleet.metrics.js';
import { ApiParts } from './api-parts.js';
import { closeInOrder } from './close-within.js';
import { NestLogger } from './nest.logger.js';

/** A path segment may hold a whole shape key. */
const LONGEST_SEGMENT = 8_192;
/** A client that needs longer than this for its headers and body is cut off. */
const REQUEST_TIMEOUT_MS = 300_000;

export interface RunningApi {
  url: string;
  /**
   * Refuses new connections, answers what is in flight for up to `graceMs` (2 s while Redis is away), stops taking jobs,
   * closes connections: 3 s more at most.
   */
  close(graceMs: number): Promise<void>;
}

/** Starts the API. Redis may be away: then it answers 503 until it is there. Rejects where the address is taken. */
export async function startApi(config: ApiConfig, log: Logger): Promise<RunningApi> {
  const parts = new ApiParts(config, log);
  const adapter = new FastifyAdapter({
    logger: false,
    bodyLimit: config.bodyLimitBytes,
    requestTimeout: REQUEST_TIMEOUT_MS,
    skipMiddie: true,
    return503OnClosing: false,
    routerOptions: { ignoreTrailingSlash: true, maxParamLength: LONGEST_SEGMENT },
  });
  const app = await NestFactory.create<NestFastifyApplication>(apiModule(config, parts), adapter, {
    bodyParser: false,
    abortOnError: false,
    logger: new NestLogger(log),
  });
  const fastify = app.getHttpAdapter().getInstance();
  const pipeline = new HttpPipeline(config);
  const methods = new MethodNotAllowed();
  parts.inFlight.install(fastify);
  pipeline.install(fastify);
  methods.watch(fastify);
  fastify.addHook('onResponse', (request, reply, done) => {
    parts.metrics.answered(request.method, request.routeOptions.url ?? 'none', reply.statusCode, reply.elapsedTime);
    parts.counts.answered(request, reply);
    done();
  });
  parts.watch(pipeline.bytes);
  app.useGlobalFilters(new ErrorFilter(log));
  installDocs(app);
  await app.init();
  methods.complete(fastify);
  app
    .get(FleetMetrics)
    .follow()
    .catch((error: unknown) => log.warn({ err: error }, 'moves of lanes are not counted: no notices are heard'));
  await parts.start();
  await app.listen(config.http.port, config.http.host);
  parts.watchEventLoop();
  return {
    url: await app.getUrl(),
    close: async (graceMs) => {
      parts.inFlight.begin();
      // Not awaited: it stops listening now, and ends once the last connection has.
      const closed = app.close();
      closed.catch(() => undefined);
      await closeInOrder([{ name: 'event streams', limitMs: 200, close: () => parts.streams.close() }], log);
      const left = await parts.drained(graceMs);
      if (left > 0) log.warn({ requests: left }, 'not every request was answered in time: their connections are cut');
      fastify.server.closeAllConnections();
      await closeInOrder([{ name: 'http', limitMs: 300, close: () => closed }, ...parts.closeSteps()], log);
    },
  };
}
