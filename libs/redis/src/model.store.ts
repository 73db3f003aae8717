import {
  compareVersions,
  type ModelDoc,
  modelConfigSchema,
  modelDocSchema,
  modelMetadataSchema,
} from '@warmlane/contracts';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { parseDocument } from './documents.js';
import { keys, NOTICES_CHANNEL } from './keys.js';
import { LOAD_ANSWERS_TTL_MS } from './lifetimes.js';
import { encodeNotice } from './notices.js';
import { runScript } from './scripts.js';

export type ModelState = ModelDoc['state'];

/** What a worker knows of a version when it registers it; the rest of the ModelDoc belongs to Redis. */
export type ModelRegistration = Pick<
  ModelDoc,
  'name' | 'version' | 'state' | 'reason' | 'digest' | 'metadata' | 'config'
>;

/** One wish of the repository API. `version` null: every version of the name. */
export interface DesiredModel {
  name: string;
  version: string | null;
  desired: 'load' | 'unload';
  /** Grows with each wish for the name: a worker answers by it. */
  wish: number;
}

/**
 * What a worker says about a wish to load: `none`, its repository has no such model; `found`, it reads it now; `done`, what
 * it has of it is registered, LOADED or FAILED.
 */
export type LoadOutcome = 'none' | 'found' | 'done';

/** The last thing that a worker said about loading a name. */
export interface LoadAnswer {
  wish: number;
  outcome: LoadOutcome;
}

const loadOutcomeSchema = z.enum(['none', 'found', 'done']);

const storedFieldsSchema = z.object({
  state: modelDocSchema.shape.state,
  reason: z.string(),
  digest: z.string(),
  metadata: z.string(),
  config: z.string(),
  wasReady: z.enum(['0', '1']),
  retired: z.enum(['0', '1']),
  registeredAt: z.string(),
});

/** Model versions as their workers registered them, and what the repository API wants of them. */
export class ModelStore {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /**
   * Registers a version or brings it up to date (metadata, config, reason). False where another digest is registered:
   * the files changed under the same version. A registration never takes a version out of LOADED or UNLOADED, use
   * {@link setState} for that; `wasReady`, `retired` and `registeredAt` stay.
   */
  async register(model: ModelRegistration): Promise<boolean> {
    const { name, version } = model;
    const reply = await runScript(
      this.#redis,
      'registerModel',
      [keys.model(name, version), keys.models(), keys.versions(name)],
      [
        name,
        version,
        model.state,
        model.reason,
        model.digest ?? '',
        model.metadata === null ? '' : JSON.stringify(model.metadata),
        JSON.stringify(model.config),
        new Date().toISOString(),
        NOTICES_CHANNEL,
        encodeNotice({ kind: 'model', model: name, version }),
      ],
    );
    return reply === 1;
  }

  async get(name: string, version: string): Promise<ModelDoc | null> {
    return toDoc(name, version, await this.#redis.hgetall(keys.model(name, version)));
  }

  /** Versions of one name, lowest first; empty for a name that nobody registered. */
  async versions(name: string): Promise<ModelDoc[]> {
    const versions = (await this.#redis.smembers(keys.versions(name))).sort(compareVersions);
    const docs = await Promise.all(versions.map((version) => this.get(name, version)));
    return docs.filter((doc) => doc !== null);
  }

  /** Every registered version, by name, then lowest version first. */
  async list(): Promise<ModelDoc[]> {
    const names = (await this.#redis.smembers(keys.models())).sort();
    return (await Promise.all(names.map((name) => this.versions(name)))).flat();
  }

  /** Compare-and-set of the state. False where the version is unknown or in none of the states `from` (absent: any). */
  async setState(
    name: string,
    version: string,
    state: ModelState,
    reason: string,
    from: readonly ModelState[] = [],
  ): Promise<boolean> {
    const notice = encodeNotice({ kind: 'model', model: name, version });
    const args = [state, reason, NOTICES_CHANNEL, notice, ...from];
    return (await runScript(this.#redis, 'setModelState', [keys.model(name, version)], args)) === 1;
  }

  /** Notes that every required lane was READY once. True where that is news. */
  markReady(name: string, version: string): Promise<boolean> {
    return this.#setFlag(name, version, 'wasReady', true);
  }

  /** Sets a version's declared plan aside (or takes it up again). True where that is news. */
  retire(name: string, version: string, retired = true): Promise<boolean> {
    return this.#setFlag(name, version, 'retired', retired);
  }

  /** Forgets a version with its plan, its statistics and what was desired of it. False where it was not registered. */
  async remove(name: string, version: string): Promise<boolean> {
    const reply = await runScript(
      this.#redis,
      'removeModel',
      [
        keys.model(name, version),
        keys.models(),
        keys.versions(name),
        keys.desired(),
        keys.plan(name, version),
        keys.stats(name, version),
        keys.padding(name, version),
      ],
      [name, version, NOTICES_CHANNEL, encodeNotice({ kind: 'model', model: name, version })],
    );
    return reply === 1;
  }

  /**
   * The version that serves a request without one: the highest LOADED that was ready once; none yet: the highest LOADED;
   * null where none is LOADED.
   */
  async defaultVersion(name: string): Promise<string | null> {
    return chooseDefaultVersion(await this.versions(name));
  }

  /**
   * Asks every worker to load or unload; with version null it replaces earlier wishes for single versions.
   * @returns the number of the wish, by which workers answer
   */
  async setDesired(name: string, version: string | null, desired: 'load' | 'unload'): Promise<number> {
    const notice = encodeNotice({ kind: 'model', model: name, version });
    const reply = await runScript(
      this.#redis,
      'setDesired',
      [keys.desired()],
      [name, version ?? '', desired, NOTICES_CHANNEL, notice],
    );
    return Number(reply);
  }

  /** A worker's answer to a wish of the repository API. False where it has said something later already. */
  async answerLoad(name: string, worker: string, { wish, outcome }: LoadAnswer): Promise<boolean> {
    const notice = encodeNotice({ kind: 'load', model: name, worker });
    const args = [worker, wish, outcome, LOAD_ANSWERS_TTL_MS, NOTICES_CHANNEL, notice];
    return (await runScript(this.#redis, 'answerLoad', [keys.loadAnswers(name)], args)) === 1;
  }

  /** What each worker said last about loading the name, by worker. */
  async loadAnswers(name: string): Promise<Map<string, LoadAnswer>> {
    const fields = await this.#redis.hgetall(keys.loadAnswers(name));
    return new Map(
      Object.entries(fields).map(([worker, text]) => {
        const [wish = '', outcome = ''] = text.split(' ');
        return [worker, { wish: Number(wish), outcome: loadOutcomeSchema.parse(outcome) }];
      }),
    );
  }

  async desired(): Promise<DesiredModel[]> {
    const fields = await this.#redis.hgetall(keys.desired());
    return Object.entries(fields).map(([field, value]) => {
      const slash = field.indexOf('/');
      const version = field.slice(slash + 1);
      const [desired, wish = '0'] = value.split(' ');
      return {
        name: field.slice(0, slash),
        version: version === '' ? null : version,
        desired: desired === 'unload' ? 'unload' : 'load',
        wish: Number(wish),
      };
    });
  }

  async #setFlag(name: string, version: string, field: 'wasReady' | 'retired', value: boolean): Promise<boolean> {
    const notice = encodeNotice({ kind: 'model', model: name, version });
    const args = [field, value ? '1' : '0', NOTICES_CHANNEL, notice];
    return (await runScript(this.#redis, 'setModelFlag', [keys.model(name, version)], args)) === 1;
  }
}

/** The rule of {@link ModelStore.defaultVersion} over documents at hand, lowest version first. */
export function chooseDefaultVersion(docs: readonly ModelDoc[]): string | null {
  const loaded = docs.filter((doc) => doc.state === 'LOADED');
  const ready = loaded.filter((doc) => doc.wasReady);
  return (ready.at(-1) ?? loaded.at(-1))?.version ?? null;
}

/** What is desired of one version: its own wish, else that of its name, else null. */
export function desiredOf(wishes: readonly DesiredModel[], name: string, version: string): 'load' | 'unload' | null {
  const ofName = wishes.filter((wish) => wish.name === name);
  const wish = ofName.find((one) => one.version === version) ?? ofName.find((one) => one.version === null);
  return wish?.desired ?? null;
}

function toDoc(name: string, version: string, fields: Record<string, string>): ModelDoc | null {
  if (fields.state === undefined) return null;
  const key = keys.model(name, version);
  const stored = parseDocument(storedFieldsSchema, key, JSON.stringify(fields));
  return {
    name,
    version,
    state: stored.state,
    reason: stored.reason,
    digest: stored.digest === '' ? null : stored.digest,
    metadata: stored.metadata === '' ? null : parseDocument(modelMetadataSchema, key, stored.metadata),
    config: parseDocument(modelConfigSchema, key, stored.config),
    wasReady: stored.wasReady === '1',
    retired: stored.retired === '1',
    registeredAt: stored.registeredAt,
  };
}
