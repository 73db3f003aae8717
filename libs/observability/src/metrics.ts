import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** Upper bounds of duration buckets, seconds: a served lane takes about 1 ms, a cold shape up to a minute. */
export const DURATION_BUCKETS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
] as const;

interface MetricOptions<L extends string> {
  /** Prometheus form: own prefix, unit, `_total` on counters. */
  name: string;
  help: string;
  /** Bounded sets only: never a raw shape, a request id or a path that a caller makes up. */
  labels?: readonly L[];
}

/** The metrics of one process: a registry of its own (never prom-client's global one) and typed makers. */
export class Metrics {
  readonly registry = new Registry();

  constructor(role: string) {
    this.registry.setDefaultLabels({ role });
    collectDefaultMetrics({ register: this.registry });
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  /** The exposition text. */
  async text(): Promise<string> {
    return await this.registry.metrics();
  }

  counter<L extends string = never>(options: MetricOptions<L>): Counter<L> {
    return new Counter<L>({ ...this.#base(options) });
  }

  /** `collect` is called before each scrape and sets the gauge. */
  gauge<L extends string = never>(
    options: MetricOptions<L> & { collect?: (gauge: Gauge<L>) => void | Promise<void> },
  ): Gauge<L> {
    const { collect } = options;
    return new Gauge<L>({
      ...this.#base(options),
      ...(collect === undefined
        ? {}
        : {
            async collect(this: Gauge<L>) {
              await collect(this);
            },
          }),
    });
  }

  /** A histogram of seconds with {@link DURATION_BUCKETS}. */
  duration<L extends string = never>(options: MetricOptions<L>): Histogram<L> {
    return new Histogram<L>({ ...this.#base(options), buckets: [...DURATION_BUCKETS] });
  }

  #base<L extends string>(
    options: MetricOptions<L>,
  ): { name: string; help: string; labelNames: L[]; registers: Registry[] } {
    return {
      name: options.name,
      help: options.help,
      labelNames: [...(options.labels ?? [])],
      registers: [this.registry],
    };
  }
}
