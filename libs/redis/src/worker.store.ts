import { setTimeout as delay } from 'node:timers/promises';
import { type StepDoc, stepDocSchema, WarmlaneError, type WorkerDoc, workerDocSchema } from '@warmlane/contracts';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { parseDocument, readIndexed } from './documents.js';
import { keys, NOTICES_CHANNEL } from './keys.js';
import { ALIVE_TTL_MS, DOCUMENT_TTL_MS, EPOCH_TTL_MS, PRESENT_TTL_MS, QUARANTINE_TTL_MS } from './lifetimes.js';
import { encodeNotice } from './notices.js';
import { isWorkerId } from './queue-names.js';
import { runScript } from './scripts.js';

/** Slots of one host and device: more CPU workers than anybody runs on one machine. */
const SLOTS = 64;
const CLAIM_AGAIN_MS = 100;

const quarantineSchema = z.object({
  reason: z.string(),
  /** ISO 8601. */
  at: z.string(),
});

/** Why no lane is made of a shape in an environment. */
export type QuarantineEntry = z.infer<typeof quarantineSchema>;

export interface QuarantineKey {
  /** Digest of the environment fingerprint. */
  environment: string;
  modelDigest: string;
  shapeKey: string;
}

/** Whose step it is, and in which life of the worker's runtime. */
export type StepPlace = Pick<StepDoc, 'worker' | 'epoch' | 'model' | 'version' | 'shapeKey'>;

/**
 * Result of a heartbeat. `superseded`: a later runtime epoch of this worker has begun. `taken`: another process has this
 * worker's id; end this one.
 */
export type HeartbeatOutcome = 'beat' | 'superseded' | 'taken';

/** The fleet's workers: ids, heartbeats, epochs, documents, open steps and quarantine. */
export class WorkerStore {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /**
   * Takes the lowest free id `<slotBase>-<n>` for this process: after a restart the worker has its id again, and with it
   * what an eviction holds back. A slot is free 1 s after the last heartbeat of its process; where a lower slot is taken,
   * its holder may just have died, so it is waited for up to `waitMs`. `token` is the process's own, as `newId()` gives.
   * Beat at once afterwards, with the epoch that {@link nextEpoch} gives: the slot is kept for 1 s only.
   * Throws `conflict` where all 64 slots are taken.
   */
  async claim(slotBase: string, token: string, waitMs = ALIVE_TTL_MS + 2 * CLAIM_AGAIN_MS): Promise<string> {
    const ids = Array.from({ length: SLOTS }, (_, n) => `${slotBase}-${n}`);
    if (!ids.every(isWorkerId)) {
      throw new RangeError(`worker slot '${slotBase}' may hold only letters, digits, '.', '_' and '-', at most 125`);
    }
    const giveUpAt = performance.now() + waitMs;
    for (;;) {
      const last = performance.now() >= giveUpAt;
      const slot = await runScript(this.#redis, 'claimSlot', ids.map(keys.slot), [
        token,
        ALIVE_TTL_MS,
        last ? '0' : '1',
      ]);
      const id = typeof slot === 'number' ? ids[slot] : undefined;
      if (id !== undefined) return id;
      if (last) {
        throw new WarmlaneError(
          'conflict',
          `all ${SLOTS} worker slots of '${slotBase}' are taken`,
          'Stop a worker of this machine, or give this one another host name.',
        );
      }
      await delay(CLAIM_AGAIN_MS);
    }
  }

  /**
   * Says that the worker lives in this epoch; call it every {@link HEARTBEAT_EVERY_MS}. With the token of
   * {@link claim} it also keeps the id. Nothing is written unless the outcome is `beat`.
   */
  async heartbeat(id: string, epoch: number, token = ''): Promise<HeartbeatOutcome> {
    const reply = await runScript(
      this.#redis,
      'heartbeat',
      [keys.epoch(id), keys.alive(id), keys.present(id), keys.slot(id), keys.workers()],
      [epoch, token, id, ALIVE_TTL_MS, PRESENT_TTL_MS, EPOCH_TTL_MS],
    );
    return reply === 1 ? 'beat' : reply === 0 ? 'superseded' : 'taken';
  }

  /**
   * Begins the next runtime epoch, counted from 1. From this moment no holder of an older epoch is live. `known` is the
   * last epoch that the caller had: Redis may have lost the last second of its file.
   */
  async nextEpoch(worker: string, known = 0): Promise<number> {
    const reply = await runScript(
      this.#redis,
      'nextEpoch',
      [keys.epoch(worker), keys.alive(worker), keys.present(worker), keys.workerHoldings(worker)],
      [known, EPOCH_TTL_MS, NOTICES_CHANNEL, encodeNotice({ kind: 'worker', worker }), worker],
    );
    return Number(reply);
  }

  /** The worker's current epoch; 0 for one that never had a runtime. */
  async epoch(worker: string): Promise<number> {
    return Number((await this.#redis.get(keys.epoch(worker))) ?? '0');
  }

  /** Writes the worker's document, as its epoch allows. `notify: false` for mere figures, such as memory in use. */
  async put(doc: WorkerDoc, { notify = true }: { notify?: boolean } = {}): Promise<boolean> {
    const reply = await runScript(
      this.#redis,
      'putWorker',
      [keys.epoch(doc.id), keys.worker(doc.id), keys.workers()],
      [
        doc.epoch,
        doc.id,
        JSON.stringify(doc),
        DOCUMENT_TTL_MS,
        EPOCH_TTL_MS,
        NOTICES_CHANNEL,
        notify ? encodeNotice({ kind: 'worker', worker: doc.id }) : '',
      ],
    );
    return reply === 1;
  }

  async get(id: string): Promise<WorkerDoc | null> {
    const text = await this.#redis.get(keys.worker(id));
    return text === null ? null : parseDocument(workerDocSchema, keys.worker(id), text);
  }

  /** Documents of all workers of the last 24 h, by id; whether one is live is for {@link Liveness} to say. */
  list(): Promise<WorkerDoc[]> {
    const parse = (key: string, text: string): WorkerDoc => parseDocument(workerDocSchema, key, text);
    return readIndexed(this.#redis, keys.workers(), keys.worker, parse, keys.present);
  }

  /** Forgets a worker that has closed in order. False where another process has its id by now. */
  async remove(id: string, token = ''): Promise<boolean> {
    const reply = await runScript(
      this.#redis,
      'removeWorker',
      [keys.slot(id), keys.alive(id), keys.present(id), keys.worker(id), keys.workers()],
      [token, id, NOTICES_CHANNEL, encodeNotice({ kind: 'worker', worker: id })],
    );
    return reply === 1;
  }

  /** Writes the step that a runtime is about to do with a lane. False where a later epoch has begun. */
  async putStep(step: StepDoc): Promise<boolean> {
    return this.#writeStep(step, JSON.stringify(step));
  }

  /** Clears a lane's step: the runtime lived through it. False where a later epoch has begun. */
  async clearStep(of: StepPlace): Promise<boolean> {
    return this.#writeStep(of, '');
  }

  /** The steps that were open when the runtime ended, or that are open now: one of a lane at most. */
  async getSteps(worker: string): Promise<StepDoc[]> {
    const key = keys.steps(worker);
    const texts = await this.#redis.hvals(key);
    return texts.map((text) => parseDocument(stepDocSchema, key, text));
  }

  /** Keeps a shape from being made into a lane in this environment. */
  async setQuarantine(where: QuarantineKey, entry: QuarantineEntry): Promise<void> {
    const key = keys.quarantine(where.environment);
    await this.#redis
      .multi()
      .hset(key, quarantineField(where), JSON.stringify(entry))
      .pexpire(key, QUARANTINE_TTL_MS)
      .exec();
  }

  async getQuarantine(where: QuarantineKey): Promise<QuarantineEntry | null> {
    const key = keys.quarantine(where.environment);
    const text = await this.#redis.hget(key, quarantineField(where));
    return text === null ? null : parseDocument(quarantineSchema, key, text);
  }

  /** True where it was there. */
  async clearQuarantine(where: QuarantineKey): Promise<boolean> {
    return (await this.#redis.hdel(keys.quarantine(where.environment), quarantineField(where))) === 1;
  }

  async #writeStep({ worker, epoch, model, version, shapeKey }: StepPlace, text: string): Promise<boolean> {
    const args = [epoch, `${model}/${version}/${shapeKey}`, text, DOCUMENT_TTL_MS];
    return (await runScript(this.#redis, 'putStep', [keys.epoch(worker), keys.steps(worker)], args)) === 1;
  }
}

function quarantineField(where: QuarantineKey): string {
  return `${where.modelDigest} ${where.shapeKey}`;
}
