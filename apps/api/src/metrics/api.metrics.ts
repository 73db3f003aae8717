import type { LaneServed, LaneState, Timing, WorkerDoc } from '@warmlane/contracts';
import { Metrics } from '@warmlane/observability';

/** Metrics of the API process. Labels are bounded: route patterns, status codes, how a request was served. */
export class ApiMetrics {
  readonly #metrics = new Metrics('api');
  readonly #http = this.#metrics.duration({
    name: 'warmlane_http_request_duration_seconds',
    help: 'Time from the first byte of a request to the last of its answer.',
    labels: ['method', 'route', 'status'],
  });
  readonly #requests = this.#metrics.counter({
    name: 'warmlane_requests_total',
    help: 'Inference requests by how they were served: ready, padded, cold, or failed.',
    labels: ['served'],
  });
  readonly #failures = this.#metrics.counter({
    name: 'warmlane_request_failures_total',
    help: 'Failed inference requests by error code.',
    labels: ['code'],
  });
  readonly #queue = this.#metrics.duration({
    name: 'warmlane_inference_queue_seconds',
    help: 'Time an inference waited before its run.',
    labels: ['served'],
  });
  readonly #compute = this.#metrics.duration({
    name: 'warmlane_inference_compute_seconds',
    help: 'Time an inference computed.',
    labels: ['served'],
  });

  readonly #tensors = this.#metrics.counter({
    name: 'warmlane_large_tensors_total',
    help: 'Tensors too large for their job or answer, by how they went: memory (shared, on one host) or redis.',
    labels: ['way', 'direction'],
  });

  /** Values that are read at each scrape. */
  watch(sources: {
    bytesInFlight: () => number;
    stallMaxMs: () => number;
    redisUp: () => boolean;
    sharedBytes: () => number;
  }): void {
    this.#metrics.gauge({
      name: 'warmlane_body_bytes_in_flight',
      help: 'Bytes reserved for request bodies.',
      collect: (gauge) => gauge.set(sources.bytesInFlight()),
    });
    this.#metrics.gauge({
      name: 'warmlane_event_loop_stall_max_seconds',
      help: 'Longest delay of the event loop since the start.',
      collect: (gauge) => gauge.set(sources.stallMaxMs() / 1_000),
    });
    this.#metrics.gauge({
      name: 'warmlane_shared_memory_bytes',
      help: "Bytes of this process's slots in shared memory, free ones included.",
      collect: (gauge) => gauge.set(sources.sharedBytes()),
    });
    this.#metrics.gauge({
      name: 'warmlane_redis_up',
      help: '1 while Redis answers.',
      collect: (gauge) => gauge.set(sources.redisUp() ? 1 : 0),
    });
  }

  /**
   * The fleet as it is at each scrape; null while that is not known.
   *
   * @returns the counter of what lanes came to
   */
  watchFleet(sources: {
    lanes: () => Promise<{ model: string; version: string; state: LaneState; count: number }[] | null>;
    workers: () => Promise<{ state: WorkerDoc['state']; count: number }[] | null>;
  }) {
    this.#metrics.gauge({
      name: 'warmlane_lanes',
      help: 'Lanes by state. READY and SUSPECT serve; FAILED, EVICTED and STALE ones are shown for 24 h. The same in every API process.',
      labels: ['model', 'version', 'state'],
      collect: async (gauge) => {
        const lanes = await sources.lanes();
        gauge.reset();
        for (const { count, ...labels } of lanes ?? []) gauge.set(labels, count);
      },
    });
    this.#metrics.gauge({
      name: 'warmlane_workers',
      help: 'Workers of the last 24 h by state; gone: no heartbeat. The same in every API process.',
      labels: ['state'],
      collect: async (gauge) => {
        const workers = await sources.workers();
        gauge.reset();
        for (const { count, ...labels } of workers ?? []) gauge.set(labels, count);
      },
    });
    return this.#metrics.counter({
      name: 'warmlane_lane_events_total',
      help: 'What lanes of the fleet came to: ready, suspect, failed, evicted, stale. Every API process counts all that it hears: take the maximum, not the sum.',
      labels: ['model', 'version', 'event'],
    });
  }

  answered(method: string, route: string, status: number, elapsedMs: number): void {
    this.#http.observe({ method, route, status: String(status) }, elapsedMs / 1_000);
  }

  served(lane: LaneServed, timing: Timing): void {
    this.#requests.inc({ served: lane });
    this.#queue.observe({ served: lane }, timing.queueMs / 1_000);
    this.#compute.observe({ served: lane }, timing.computeMs / 1_000);
  }

  failed(code: string): void {
    this.#requests.inc({ served: 'failed' });
    this.#failures.inc({ code });
  }

  tensor(way: string, direction: string): void {
    this.#tensors.inc({ way, direction });
  }

  get contentType(): string {
    return this.#metrics.contentType;
  }

  text(): Promise<string> {
    return this.#metrics.text();
  }
}
