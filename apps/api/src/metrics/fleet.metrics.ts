import { Injectable } from '@nestjs/common';
import { LANE_STATES, type LaneDoc, WORKER_STATES, type WorkerDoc } from '@warmlane/contracts';
import { Notices } from '@warmlane/redis';
import { FleetService } from '../fleet/fleet.service.js';
import { ApiMetrics } from './api.metrics.js';
import { LANE_EVENTS, LaneMoves } from './lane-moves.js';

/**
 * Lanes and workers of the whole fleet on `/metrics`: how they are, read from Redis at each scrape, and what lanes came to,
 * from the notices that each change of one publishes. Without Redis there are no gauges: what is not known is not 0.
 */
@Injectable()
export class FleetMetrics {
  readonly #moves: LaneMoves;

  constructor(
    metrics: ApiMetrics,
    private readonly fleet: FleetService,
    private readonly notices: Notices,
  ) {
    const events = metrics.watchFleet({
      lanes: () => orNull(this.#lanes().then(countLanes)),
      workers: () => orNull(this.#workers()),
    });
    this.#moves = new LaneMoves(({ model, version }, event) => {
      // From 0 on, so that the first one is an increase too.
      if (event === null) for (const each of LANE_EVENTS) events.inc({ model, version, event: each }, 0);
      else events.inc({ model, version, event });
    });
  }

  /** Resolves when moves are counted from now on; while Redis is away it waits for it. */
  async follow(): Promise<void> {
    await this.notices.subscribe((notice) => {
      if (notice.kind === 'lane') this.#moves.hear({ ...notice, id: notice.lane });
    });
    this.notices.onResync(() => void orNull(this.#catchUp()));
    // Where this fails, the next scrape does it.
    await orNull(this.#lanes());
  }

  /** Notices were missed: of several moves of a lane the last one is seen. */
  async #catchUp(): Promise<void> {
    for (const lane of await this.fleet.lanesOf({})) this.#moves.hear(lane);
  }

  async #lanes(): Promise<LaneDoc[]> {
    const known = this.#moves.ids;
    const lanes = await this.fleet.lanesOf({});
    this.#moves.note(lanes);
    const there = new Set(lanes.map((lane) => lane.id));
    this.#moves.forget(known.filter((id) => !there.has(id)));
    return lanes;
  }

  async #workers(): Promise<{ state: WorkerDoc['state']; count: number }[]> {
    const workers = await this.fleet.workersNow();
    return WORKER_STATES.map((state) => ({ state, count: workers.filter((one) => one.state === state).length }));
  }
}

/** Every state of each version that has lanes, 0 where none is in it: a series that comes and goes cannot be alarmed on. */
function countLanes(lanes: readonly LaneDoc[]) {
  const versions = new Map<string, { model: string; version: string; counts: Map<string, number> }>();
  for (const { model, version, state } of lanes) {
    const id = `${model}/${version}`;
    const of = versions.get(id) ?? { model, version, counts: new Map<string, number>() };
    of.counts.set(state, (of.counts.get(state) ?? 0) + 1);
    versions.set(id, of);
  }
  return [...versions.values()].flatMap(({ model, version, counts }) =>
    LANE_STATES.map((state) => ({ model, version, state, count: counts.get(state) ?? 0 })),
  );
}

/** Redis is away or silent: `warmlane_redis_up` says so. */
async function orNull<T>(read: Promise<T>): Promise<T | null> {
  try {
    return await read;
  } catch {
    return null;
  }
}
