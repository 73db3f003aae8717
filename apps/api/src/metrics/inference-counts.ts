import { type ErrorCode, isErrorCode, type LaneServed, type Timing, type WarmlaneError } from '@warmlane/contracts';
import type { RequestSample, StatsStore } from '@warmlane/redis';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { ApiMetrics } from './api.metrics.js';

/** How an inference was served. */
export interface ServedInference {
  model: string;
  /** Null: the default one. */
  version: string | null;
  lane: LaneServed;
  /** Size of its batch axis; 1 where the model has none. */
  items: number;
  timing: Timing;
}

/** Failures that are no model's: nobody may ask for it, or nobody can tell whether it exists. */
const NOBODYS = new Set<ErrorCode>(['unauthorized', 'forbidden', 'unknown-model', 'unknown-version', 'redis-away']);

const NOTHING = { items: 0, queueNs: 0, computeInputNs: 0, computeInferNs: 0, computeOutputNs: 0 };

/**
 * Counts each inference that this process answers once, in its metrics and in the model's statistics alike: synchronous
 * and asynchronous ones, those of the queue `inference`, and those that were refused before anybody looked at them.
 */
export class InferenceCounts {
  readonly #seen = new WeakSet<FastifyRequest>();

  /** @param resolve the version that serves; rejects where there is none */
  constructor(
    private readonly metrics: ApiMetrics,
    private readonly stats: StatsStore,
    private readonly resolve: (model: string, version: string | null) => Promise<{ name: string; version: string }>,
  ) {}

  /** Whoever answers the request counts it. */
  take(request: FastifyRequest): void {
    this.#seen.add(request);
  }

  served({ model, version, lane, items, timing }: ServedInference, elapsedMs: number): void {
    this.metrics.served(lane, timing);
    this.#count(model, version, {
      ok: true,
      items,
      totalNs: elapsedMs * 1e6,
      queueNs: timing.queueMs * 1e6,
      computeInputNs: timing.copyMs * 1e6,
      computeInferNs: timing.computeMs * 1e6,
      computeOutputNs: 0,
    });
  }

  /** @param model as it was asked for; null where the request does not tell */
  failed(code: WarmlaneError['code'], model: string | null, version: string | null, elapsedMs: number): void {
    this.metrics.failed(code);
    if (model === null || NOBODYS.has(code)) return;
    // A version that does not exist may be asked for: what it is counted for must exist.
    this.#resolved(model, version, { ...NOTHING, ok: false, totalNs: elapsedMs * 1e6 });
  }

  /** After the answer to any request: one to infer that nobody took was refused on its way, by what its answer says. */
  answered(request: FastifyRequest, reply: FastifyReply): void {
    if (request.method !== 'POST' || request.routeOptions.url?.endsWith('/infer') !== true) return;
    const code = reply.getHeader('warmlane-error');
    if (this.#seen.has(request) || typeof code !== 'string' || !isErrorCode(code)) return;
    const { model, version } = request.params as { model?: string; version?: string };
    this.failed(code, model ?? null, version ?? null, reply.elapsedTime);
  }

  #count(model: string, version: string | null, sample: RequestSample): void {
    if (version === null) this.#resolved(model, version, sample);
    else this.stats.request(model, version, sample);
  }

  #resolved(model: string, version: string | null, sample: RequestSample): void {
    this.resolve(model, version).then(
      (found) => this.stats.request(found.name, found.version, sample),
      () => undefined,
    );
  }
}
