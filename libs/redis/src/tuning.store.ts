import { type TuningDoc, type TuningStep, tuningDocSchema, tuningStepSchema } from '@warmlane/contracts';
import type { Redis } from 'ioredis';
import { parseDocument, readIndexed } from './documents.js';
import { keys, NOTICES_CHANNEL } from './keys.js';
import { TUNING_CLAIM_TTL_MS, TUNING_STEP_TTL_MS, TUNING_TTL_MS } from './lifetimes.js';
import { encodeNotice } from './notices.js';
import { runScript } from './scripts.js';

/** What a tuning is valid for. */
export interface TuningKey {
  /** Digest of the environment fingerprint. */
  environment: string;
  modelDigest: string;
  /** Digest of the settings that the choice depends on. */
  basis: string;
  shapeKey: string;
}

/** Whose tunings: one worker at a time measures a model in an environment. */
export type TuningScope = Pick<TuningKey, 'environment' | 'modelDigest'>;

/** Which options were found best for a shape, for every worker with the same environment, and how each candidate fared. */
export class TuningStore {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  async get(key: TuningKey): Promise<TuningDoc | null> {
    const name = keyOf(key);
    const text = await this.#redis.get(name);
    return text === null ? null : parseDocument(tuningDocSchema, name, text);
  }

  /** Every tuning, in the order of environment, model and shape. */
  list(): Promise<TuningDoc[]> {
    const parse = (key: string, text: string): TuningDoc => parseDocument(tuningDocSchema, key, text);
    return readIndexed(this.#redis, keys.tunings(), keyOfMember, parse);
  }

  /** A lane was made by it: it is kept 90 days from now. */
  async touch(key: TuningKey): Promise<void> {
    await this.#redis.pexpire(keyOf(key), TUNING_TTL_MS);
  }

  /** Takes the right to measure a model, or renews it. False where another token has it. */
  async claim({ environment, modelDigest }: TuningScope, token: string): Promise<boolean> {
    const claim = keys.tuningClaim(environment, modelDigest);
    return (await runScript(this.#redis, 'claimTuning', [claim], [token, TUNING_CLAIM_TTL_MS])) === 1;
  }

  async release({ environment, modelDigest }: TuningScope, token: string): Promise<boolean> {
    const claim = keys.tuningClaim(environment, modelDigest);
    return (await runScript(this.#redis, 'releaseTuning', [claim], [token])) === 1;
  }

  /**
   * Writes the whole document at once. False where another token has the claim. `done` ones are announced: lanes are made
   * by them.
   */
  async put(doc: TuningDoc, token: string): Promise<boolean> {
    const { environment, modelDigest, model, version, shapeKey } = doc;
    const notice = doc.state === 'done' ? encodeNotice({ kind: 'tuning', model, version, shapeKey }) : '';
    const reply = await runScript(
      this.#redis,
      'putTuning',
      [keys.tuningClaim(environment, modelDigest), keyOf(doc), keys.tunings()],
      [token, JSON.stringify(doc), TUNING_TTL_MS, memberOf(doc), NOTICES_CHANNEL, notice],
    );
    return reply === 1;
  }

  /** Says which trial begins now, null that it is over. False where the token does not have the claim. */
  async putStep({ environment, modelDigest }: TuningScope, token: string, step: TuningStep | null): Promise<boolean> {
    const reply = await runScript(
      this.#redis,
      'putTuningStep',
      [keys.tuningClaim(environment, modelDigest), keys.tuningStep(environment, modelDigest)],
      [token, step === null ? '' : JSON.stringify(step), TUNING_STEP_TTL_MS],
    );
    return reply === 1;
  }

  /** The trial that is under way, or that was when its worker died. */
  async getStep({ environment, modelDigest }: TuningScope): Promise<TuningStep | null> {
    const name = keys.tuningStep(environment, modelDigest);
    const text = await this.#redis.get(name);
    return text === null ? null : parseDocument(tuningStepSchema, name, text);
  }
}

function keyOf({ environment, modelDigest, basis, shapeKey }: TuningKey): string {
  return keys.tuning(environment, modelDigest, basis, shapeKey);
}

/** No part holds white space. */
function memberOf({ environment, modelDigest, basis, shapeKey }: TuningKey): string {
  return [environment, modelDigest, basis, shapeKey].join(' ');
}

function keyOfMember(member: string): string {
  const [environment = '', modelDigest = '', basis = '', shapeKey = ''] = member.split(' ');
  return keys.tuning(environment, modelDigest, basis, shapeKey);
}
