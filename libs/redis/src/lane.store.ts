import { type LaneDoc, type LaneState, laneDocSchema } from '@warmlane/contracts';
import type { Redis } from 'ioredis';
import { parseDocument, readIndexed } from './documents.js';
import { keys, NOTICES_CHANNEL } from './keys.js';
import { ALIVE_TTL_MS, DOCUMENT_TTL_MS, EPOCH_TTL_MS, LANE_REQUEST_TTL_MS, PRESENT_TTL_MS } from './lifetimes.js';
import { encodeNotice, type Notice } from './notices.js';
import { runScript } from './scripts.js';

/** Every given field must match. */
export interface LaneFilter {
  model?: string;
  version?: string;
  state?: LaneState;
  worker?: string;
  shapeKey?: string;
}

/** Requests of one kind that a worker takes in one go. */
const TAKEN_AT_ONCE = 1_000;

const ENDED: ReadonlySet<LaneState> = new Set(['EVICTED', 'FAILED', 'STALE']);

/**
 * Lanes of the fleet. Every write is compare-and-set on the worker's runtime epoch: a writer of an older epoch gets false
 * and changes nothing. Each change publishes a `lane` notice.
 */
export class LaneStore {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** Writes a lane's document; not for READY, which {@link ready} and {@link leave} enter and leave. */
  async put(doc: LaneDoc): Promise<boolean> {
    const { id, worker, epoch } = doc;
    const reply = await runScript(
      this.#redis,
      'putLane',
      [keys.epoch(worker), keys.lane(id), keys.lanes(), keys.workerLanes(worker), keys.verifyRequests(worker)],
      [epoch, id, JSON.stringify(doc), ttlOf(doc), EPOCH_TTL_MS, NOTICES_CHANNEL, laneNotice(doc, null)],
    );
    return reply === 1;
  }

  /**
   * Writes the document of a lane that is READY (or SUSPECT, which still serves) and adds it to the holders of its shape
   * class, in one script.
   */
  async ready(doc: LaneDoc, shapeClass: string): Promise<boolean> {
    const { id, worker, epoch } = doc;
    const reply = await runScript(
      this.#redis,
      'readyLane',
      [
        keys.epoch(worker),
        keys.lane(id),
        keys.lanes(),
        keys.workerLanes(worker),
        keys.holders(doc.model, doc.version, shapeClass),
        keys.workerHoldings(worker),
        keys.alive(worker),
        keys.present(worker),
        keys.classes(doc.model, doc.version),
      ],
      [
        epoch,
        id,
        JSON.stringify(doc),
        holderMember(doc),
        EPOCH_TTL_MS,
        ALIVE_TTL_MS,
        PRESENT_TTL_MS,
        NOTICES_CHANNEL,
        laneNotice(doc, shapeClass),
        shapeClass,
      ],
    );
    return reply === 1;
  }

  /** Takes the lane out of the holders of its class and writes its new state, in one script. */
  async leave(doc: LaneDoc, shapeClass: string): Promise<boolean> {
    const { id, worker, epoch } = doc;
    const reply = await runScript(
      this.#redis,
      'leaveLane',
      [
        keys.epoch(worker),
        keys.lane(id),
        keys.lanes(),
        keys.workerLanes(worker),
        keys.holders(doc.model, doc.version, shapeClass),
        keys.workerHoldings(worker),
      ],
      [
        epoch,
        id,
        JSON.stringify(doc),
        holderMember(doc),
        ttlOf(doc),
        EPOCH_TTL_MS,
        NOTICES_CHANNEL,
        laneNotice(doc, shapeClass),
      ],
    );
    return reply === 1;
  }

  async get(id: string): Promise<LaneDoc | null> {
    const text = await this.#redis.get(keys.lane(id));
    return text === null ? null : parseLane(keys.lane(id), text);
  }

  /** Lanes that match, by id. */
  async list(filter: LaneFilter = {}): Promise<LaneDoc[]> {
    const index = filter.worker === undefined ? keys.lanes() : keys.workerLanes(filter.worker);
    const all = await readIndexed(this.#redis, index, keys.lane, parseLane);
    return all.filter(
      (doc) =>
        (filter.model === undefined || doc.model === filter.model) &&
        (filter.version === undefined || doc.version === filter.version) &&
        (filter.state === undefined || doc.state === filter.state) &&
        (filter.worker === undefined || doc.worker === filter.worker) &&
        (filter.shapeKey === undefined || doc.shapeKey === filter.shapeKey),
    );
  }

  ofWorker(worker: string): Promise<LaneDoc[]> {
    return this.list({ worker });
  }

  /** Forgets a lane. False where it is unknown, or changed while it was read. */
  async remove(id: string): Promise<boolean> {
    const text = await this.#redis.get(keys.lane(id));
    if (text === null) return false;
    const doc = parseLane(keys.lane(id), text);
    const reply = await runScript(
      this.#redis,
      'removeLane',
      [keys.lane(id), keys.lanes(), keys.workerLanes(doc.worker), keys.workerHoldings(doc.worker)],
      [id, text, holderMember(doc)],
    );
    return reply === 1;
  }

  /**
   * Marks every lane of a worker that is gone STALE and takes it out of the holders. Returns the lanes it marked; none
   * where the worker is present (it returned), or another process was faster.
   */
  async markStale(worker: string, reason: string): Promise<LaneDoc[]> {
    const index = keys.workerLanes(worker);
    const read = await readIndexed(this.#redis, index, keys.lane, (key, text) => ({ text, doc: parseLane(key, text) }));
    const since = new Date().toISOString();
    const changes = read
      .filter(({ doc }) => !ENDED.has(doc.state))
      .map(({ text, doc }) => {
        const stale: LaneDoc = { ...doc, state: 'STALE', since, reason, trigger: 'worker-gone' };
        return { text, stale };
      });
    const reply = await runScript(
      this.#redis,
      'staleLanes',
      [
        keys.present(worker),
        keys.alive(worker),
        keys.workerHoldings(worker),
        ...changes.map(({ stale }) => keys.lane(stale.id)),
      ],
      [
        DOCUMENT_TTL_MS,
        NOTICES_CHANNEL,
        worker,
        ...changes.flatMap(({ text, stale }) => [stale.id, text, JSON.stringify(stale), laneNotice(stale, null)]),
      ],
    );
    if (typeof reply !== 'number' || reply <= 0) return [];
    const after = await this.ofWorker(worker);
    return after.filter((doc) => changes.some(({ stale }) => stale.id === doc.id && stale.since === doc.since));
  }

  /** Asks the lane's worker to verify it again; taken by {@link takeVerifyRequests}. */
  async requestVerify(lane: string, worker: string): Promise<void> {
    await this.#request(keys.verifyRequests(worker), { kind: 'verify', worker, lane });
  }

  /** Ids of the lanes that somebody asked this worker to verify, each given once. */
  async takeVerifyRequests(worker: string): Promise<string[]> {
    return this.#redis.spop(keys.verifyRequests(worker), TAKEN_AT_ONCE);
  }

  /**
   * Asks the lane's worker to end it; taken by {@link takeEvictRequests}. For a lane whose shape is in no plan: one that
   * is planned is held back in the plan, see PlanStore.
   */
  async requestEvict(lane: string, worker: string): Promise<void> {
    await this.#request(keys.evictRequests(worker), { kind: 'evict', worker, lane });
  }

  /** Ids of the lanes that somebody asked this worker to end, each given once. */
  async takeEvictRequests(worker: string): Promise<string[]> {
    return this.#redis.spop(keys.evictRequests(worker), TAKEN_AT_ONCE);
  }

  async #request(key: string, notice: Notice & { lane: string }): Promise<void> {
    await this.#redis
      .multi()
      .sadd(key, notice.lane)
      .pexpire(key, LANE_REQUEST_TTL_MS)
      .publish(NOTICES_CHANNEL, encodeNotice(notice))
      .exec();
  }
}

function holderMember(doc: LaneDoc): string {
  return `${doc.worker}:${doc.epoch}:${doc.id}`;
}

function ttlOf(doc: LaneDoc): number {
  return ENDED.has(doc.state) ? DOCUMENT_TTL_MS : 0;
}

function parseLane(key: string, text: string): LaneDoc {
  return parseDocument(laneDocSchema, key, text);
}

function laneNotice(doc: LaneDoc, shapeClass: string | null): string {
  return encodeNotice({
    kind: 'lane',
    lane: doc.id,
    model: doc.model,
    version: doc.version,
    shapeKey: doc.shapeKey,
    state: doc.state,
    worker: doc.worker,
    class: shapeClass,
  });
}
