import { WarmlaneError } from '@warmlane/contracts';
import type { Liveness } from '@warmlane/redis';
import type { Pending, PendingRequests } from './pending.js';
import { TokenBucket } from './token-bucket.js';

/** How often the workers' life is looked at while requests are in flight, ms. */
const LOOK_EVERY_MS = 250;
/** A worker that lives on under a new epoch runs its jobs again by itself; only one that has not after this long is helped. */
const NEW_EPOCH_GRACE_MS = 1_000;
/** Repeats are at most this share of the traffic: repeating without a bound collapses under a burst. */
const REPEAT_SHARE = 0.05;
/** Repeats that quiet traffic may save up: about what one worker holds active of one class. */
const REPEAT_STOCK = 20;
/** Jobs looked up at once after a death. */
const LOOKUP_BATCH = 100;

type Live = ReadonlyMap<string, number>;

/** A worker that was live when requests were routed and is not any more, or lives in another epoch. */
interface Loss {
  worker: string;
  /** `performance.now()` from which its jobs may be repeated. */
  dueAt: number;
  /** Requests whose job it turned out not to hold. */
  cleared: WeakSet<Pending>;
}

/**
 * Finds requests whose job is held by a worker that died, and has each repeated once. A job that still waits is left
 * alone: another holder or an adopter takes it. Never because of time alone.
 */
export class HolderWatch {
  readonly #bucket = new TokenBucket(REPEAT_SHARE, REPEAT_STOCK);
  /** By `worker:epoch` as the requests knew it. */
  #losses = new Map<string, Loss>();
  #timer: NodeJS.Timeout | null = null;
  #looking = false;

  constructor(
    private readonly liveness: Liveness,
    private readonly pending: PendingRequests,
    private readonly repeat: (pending: Pending) => Promise<void>,
    private readonly onError: (error: WarmlaneError) => void,
  ) {}

  start(): void {
    this.#timer ??= setInterval(() => {
      if (this.pending.size === 0 || this.#looking) return;
      this.#looking = true;
      this.#look()
        .catch((error: unknown) => this.onError(WarmlaneError.from(error)))
        .finally(() => {
          this.#looking = false;
        });
    }, LOOK_EVERY_MS);
    this.#timer.unref();
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  /** A request was accepted: it earns its share of a repeat. */
  earn(): void {
    this.#bucket.earn();
  }

  async #look(): Promise<void> {
    const suspects = this.#suspects(await this.liveness.live());
    for (let at = 0; at < suspects.length; at += LOOKUP_BATCH) {
      const batch = suspects.slice(at, at + LOOKUP_BATCH);
      const holders = await Promise.all(batch.map(({ pending }) => holderOf(pending)));
      for (const [index, { pending, losses }] of batch.entries()) {
        const holder = holders[index] ?? null;
        if (!losses.some((loss) => loss.worker === holder)) {
          for (const loss of losses) loss.cleared.add(pending);
        } else if (this.pending.has(pending)) {
          // Without a token it stays a suspect: new traffic earns one.
          if (!this.#bucket.take()) return;
          pending.repeated = true;
          await this.repeat(pending);
        }
      }
    }
  }

  /** Requests routed while a worker was live that is lost now, unless it is known not to hold them. */
  #suspects(live: Live): { pending: Pending; losses: Loss[] }[] {
    const now = performance.now();
    const losses = new Map<string, Loss>();
    // Requests of the same 100 ms share one map of live workers: compare each map once.
    const byMap = new Map<Live, Loss[]>();
    const suspects: { pending: Pending; losses: Loss[] }[] = [];
    for (const pending of this.pending.all()) {
      if (!pending.accepted || pending.repeated) continue;
      let lost = byMap.get(pending.route.live);
      if (lost === undefined) {
        lost = this.#lost(pending.route.live, live, now, losses);
        byMap.set(pending.route.live, lost);
      }
      const open = lost.filter((loss) => loss.dueAt <= now && !loss.cleared.has(pending));
      if (open.length > 0) suspects.push({ pending, losses: open });
    }
    this.#losses = losses;
    return suspects;
  }

  #lost(then: Live, live: Live, now: number, losses: Map<string, Loss>): Loss[] {
    const lost: Loss[] = [];
    for (const [worker, epoch] of then) {
      const current = live.get(worker);
      if (current === epoch) continue;
      const id = `${worker}:${epoch}`;
      const graceMs = current === undefined ? 0 : NEW_EPOCH_GRACE_MS;
      const loss = this.#losses.get(id) ?? { worker, dueAt: now + graceMs, cleared: new WeakSet<Pending>() };
      losses.set(id, loss);
      lost.push(loss);
    }
    return lost;
  }
}

/** The worker that has the request's job active; null where it waits or is gone. */
async function holderOf(pending: Pending): Promise<string | null> {
  const job = await pending.queue.getJob(pending.request);
  return job === undefined || job.finishedOn !== undefined ? null : (job.processedBy ?? null);
}
