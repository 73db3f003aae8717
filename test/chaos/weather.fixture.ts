import { Redis } from 'ioredis';
import { expect, vi } from 'vitest';
import type { SeededRandom } from '../support/seeded-random.js';
import { AcceptedWork } from './accepted-work.fixture.js';
import { type StormPlan, signal, storm } from './faults.fixture.js';
import {
  asyncLoop,
  hastyLoop,
  idempotentLoop,
  jsonLoop,
  type LoadDeps,
  leavingLoop,
  syncLoop,
} from './http-load.fixture.js';
import { Ledger } from './ledger.fixture.js';
import { Oracle } from './oracle.fixture.js';
import { BareClient } from './queue-load.fixture.js';
import { type Census, takeCensus } from './redis-census.fixture.js';
import { ReplyAudit } from './reply-audit.fixture.js';
import { type SystemOptions, WarmlaneSystem } from './warmlane-system.fixture.js';
import { entryWarmupLoop, type WarmupLog, warmupLoop } from './warmup-load.fixture.js';

/** The first warm-up, on whatever machine. */
const FIRST_WARM_MS = 180_000;
/** From the last fault until every lane is READY again: this, and so many times what it took at first on this machine. */
const WARM_MS = 30_000;
const WARM_FACTOR = 5;
/** From the last answer until nothing is left in the queues. */
const QUIET_MS = 60_000;

/** What a storm came to. */
export interface Weather {
  /** The faults, in order. */
  done: string[];
  ledger: Ledger;
  warmups: WarmupLog;
  /** From the last fault until all was warm, ms. */
  warmMs: number;
}

/** A system under every kind of load, and what is wrong with its answers. */
export class WeatherStation implements AsyncDisposable {
  private constructor(
    readonly system: WarmlaneSystem,
    /** From the last fault until all is warm again, at most. */
    readonly warmLimitMs: number,
    private readonly oracle: Oracle,
    private readonly client: BareClient,
    private readonly redis: Redis,
    private readonly audit: ReplyAudit,
    private readonly say: (text: string) => void,
  ) {}

  static async start(options: SystemOptions, say: (text: string) => void): Promise<WeatherStation> {
    const system = await WarmlaneSystem.start(options);
    const warmMs = await system.untilWarm(FIRST_WARM_MS);
    const url = await system.redisUrl();
    const redis = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 100 });
    redis.on('error', () => undefined);
    say(`${system.workers} workers, warm ${Math.round(warmMs)} ms after the API`);
    const limitMs = WARM_MS + WARM_FACTOR * warmMs;
    const oracle = new Oracle(system.models);
    return new WeatherStation(system, limitMs, oracle, new BareClient(url), redis, new ReplyAudit(redis), say);
  }

  /** Mixed load in every way while the storm goes on, until everything is warm again and every request has ended. */
  async pass(plan: StormPlan, random: SeededRandom): Promise<Weather> {
    const { system, oracle } = this;
    const stop = new AbortController();
    const ledger = new Ledger();
    const warmups: WarmupLog = { ended: {}, problems: [] };
    const deps: LoadDeps = { url: system.url, oracle, ledger, stop: stop.signal };
    const loops = [syncLoop, jsonLoop, asyncLoop, asyncLoop, idempotentLoop, hastyLoop, leavingLoop];
    const load = [
      ...loops.map((loop) => loop(deps, random.fork())),
      this.client.loop(deps, random.fork()),
      this.client.loop(deps, random.fork()),
      warmupLoop(system.url, stop.signal, random.fork(), warmups),
      entryWarmupLoop(system.url, this.client, stop.signal, random.fork(), warmups),
    ];
    try {
      const done = await storm(system, plan, random.fork());
      // A loop that throws has found something that nobody foresaw: it ends the test at once.
      const warmMs = await Promise.race([system.untilWarm(this.warmLimitMs), Promise.all(load).then(() => Number.NaN)]);
      stop.abort();
      await Promise.all(load);
      const ended = JSON.stringify(warmups.ended);
      this.say(`${done.join(', ')}: warm after ${Math.round(warmMs)} ms; ${ledger.summary()}; warm-ups ${ended}`);
      return { done, ledger, warmups, warmMs };
    } finally {
      stop.abort();
    }
  }

  /**
   * Gives work, kills `serve` before any of it is done, and starts it again on what it left. Resolves with what the new
   * one did not do right.
   */
  async killServe(random: SeededRandom): Promise<string[]> {
    const { system, oracle, client } = this;
    const workers = await system.find('worker');
    for (const { pid } of workers) signal(pid, 'SIGSTOP');
    const work = await AcceptedWork.give(system.url, client, random);
    const end = system.end('SIGKILL');
    for (const { pid } of workers) signal(pid, 'SIGCONT');
    await end;
    await system.untilGone();
    const startedAt = performance.now();
    await using again = await WarmlaneSystem.again(system.folder, { workers: system.workers });
    const next = new BareClient(await again.redisUrl());
    try {
      const problems = await work.problems(again.url, next, oracle);
      this.say(
        `serve killed: ${work.count} things done ${Math.round(performance.now() - startedAt)} ms after the start`,
      );
      await again.untilWarm(this.warmLimitMs);
      return [...problems, ...next.endedAgain()];
    } finally {
      next.close();
    }
  }

  /** Waits until nothing is open in Redis, and counts what is there. */
  async quiet(): Promise<Census> {
    await vi.waitFor(async () => expect((await takeCensus(this.redis)).problems).toEqual([]), {
      timeout: QUIET_MS,
      interval: 500,
    });
    const census = await takeCensus(this.redis);
    this.say(`keys: ${JSON.stringify(census.counts)}`);
    expect(this.client.endedAgain()).toEqual([]);
    expect(this.audit.answeredTwice()).toEqual([]);
    expect(this.audit.count).toBeGreaterThan(0);
    return census;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.close();
    this.audit.close();
    this.redis.disconnect();
    await this.oracle.close();
    await this.system[Symbol.asyncDispose]();
  }
}
