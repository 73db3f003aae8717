import { createHash } from 'node:crypto';
import { newId, type WarmupDoc, type WarmupView, warmupDocSchema, warmupViewSchema } from '@warmlane/contracts';
import type { Redis } from 'ioredis';
import { parseDocument } from './documents.js';
import { keys, NOTICES_CHANNEL } from './keys.js';
import { AFTER_DEADLINE_MS, DOCUMENT_TTL_MS } from './lifetimes.js';
import { encodeNotice } from './notices.js';
import { encodeNamed } from './plan-fields.js';
import { replyStrings, runScript } from './scripts.js';

/** What a warm-up asks for; equal requests are the same warm-up while one is unfinished. */
export interface WarmupRequest {
  model: string;
  version: string;
  /** Expanded and checked against the model, each once, in the request's order. */
  shapes: readonly string[];
  /** null: the plan's. */
  replicas: number | null;
  /** 0 first. */
  priority: number;
  /** Provider and session options by ONNX Runtime's keys; empty: the yaml's. */
  options: Readonly<Record<string, string | number | boolean>>;
  /** Whether the tuner is to choose options for its shapes. */
  tune: boolean;
  /** From now, ms. */
  deadlineMs: number;
}

export type WarmupAssignment = WarmupDoc['assignments'][number];

const requestSchema = warmupDocSchema.omit({
  added: true,
  generation: true,
  assignments: true,
  canceled: true,
  final: true,
});
const assignmentsSchema = warmupDocSchema.shape.assignments;

/** Warm-ups: minted once per request, planned by generation, finished once. */
export class WarmupStore {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /**
   * Creates a warm-up, adds its shapes to the plan and lets go of those that were held back; or finds the unfinished one
   * of the same request (`created` false).
   */
  async create(request: WarmupRequest): Promise<{ doc: WarmupDoc; created: boolean }> {
    const id = newId();
    const { model, version } = request;
    const digest = digestOf(request);
    const [seconds, micros] = await this.#redis.time();
    const createdAt = new Date().toISOString();
    const stored = {
      id,
      model,
      version,
      shapes: [...request.shapes],
      replicas: request.replicas,
      priority: request.priority,
      createdAt,
      deadlineAt: Number(seconds) * 1_000 + Math.floor(Number(micros) / 1_000) + request.deadlineMs,
    };
    const named = encodeNamed({
      id,
      replicas: request.replicas,
      priority: request.priority,
      options: { ...request.options },
      tune: request.tune,
      addedAt: createdAt,
    });
    const reply = await runScript(
      this.#redis,
      'createWarmUp',
      [keys.warmUpDigest(digest), keys.warmUp(id), keys.warmUpsUnfinished(), keys.plan(model, version)],
      [
        id,
        JSON.stringify(stored),
        digest,
        request.deadlineMs + AFTER_DEADLINE_MS,
        request.deadlineMs + DOCUMENT_TTL_MS,
        named,
        NOTICES_CHANNEL,
        encodeNotice({ kind: 'warmup', warmup: id }),
        encodeNotice({ kind: 'plan', model, version }),
        ...stored.shapes,
      ],
    );
    const doc = await this.get(String(reply));
    // The one that stood for the request has just ended, or Redis lost it: a new one stands now.
    if (doc === null) return this.create(request);
    return { doc, created: doc.id === id };
  }

  async get(id: string): Promise<WarmupDoc | null> {
    return (await this.#read(id))?.doc ?? null;
  }

  /** Ids of the warm-ups without a final view. */
  async unfinished(): Promise<string[]> {
    const ids = (await this.#redis.smembers(keys.warmUpsUnfinished())).sort();
    const docs = await Promise.all(ids.map((id) => this.get(id)));
    const lost = ids.filter((_, n) => docs[n] === null);
    if (lost.length > 0) {
      await runScript(this.#redis, 'pruneMembers', [keys.warmUpsUnfinished(), ...lost.map(keys.warmUp)], lost);
    }
    return ids.filter((id) => !lost.includes(id));
  }

  /**
   * Begins generation `generation` with these assignments. False unless it follows the stored generation and the warm-up
   * is neither canceled nor finished: somebody else planned.
   */
  async assign(id: string, generation: number, assignments: readonly WarmupAssignment[]): Promise<boolean> {
    const args = [
      generation,
      JSON.stringify(assignments),
      NOTICES_CHANNEL,
      encodeNotice({ kind: 'warmup', warmup: id }),
    ];
    return (await runScript(this.#redis, 'assignWarmUp', [keys.warmUp(id)], args)) === 1;
  }

  /**
   * Cancels: the warm-up names its shapes no longer, and those that nothing else names leave the plan. Returns them, or
   * null where it is unknown, canceled or finished already. Whoever reports on it then finishes it.
   */
  async cancel(id: string): Promise<string[] | null> {
    const read = await this.#read(id);
    if (read === null) return null;
    const { model, version, shapes } = read.doc;
    const reply = await runScript(
      this.#redis,
      'cancelWarmUp',
      [keys.warmUp(id), keys.warmUpDigest(read.digest), keys.plan(model, version)],
      [
        id,
        NOTICES_CHANNEL,
        encodeNotice({ kind: 'cancel', warmup: id }),
        encodeNotice({ kind: 'plan', model, version }),
        ...shapes,
      ],
    );
    return Array.isArray(reply) ? replyStrings(reply) : null;
  }

  /** Writes the final view, once; it is kept for 24 h. False where it was finished before, or is unknown. */
  async finish(id: string, view: WarmupView): Promise<boolean> {
    const read = await this.#read(id);
    if (read === null) return false;
    const { model, version, shapes } = read.doc;
    const reply = await runScript(
      this.#redis,
      'finishWarmUp',
      [keys.warmUp(id), keys.warmUpDigest(read.digest), keys.warmUpsUnfinished(), keys.plan(model, version)],
      [
        id,
        JSON.stringify(view),
        DOCUMENT_TTL_MS,
        NOTICES_CHANNEL,
        encodeNotice({ kind: 'warmup', warmup: id }),
        ...shapes,
      ],
    );
    return reply === 1;
  }

  async #read(id: string): Promise<{ doc: WarmupDoc; digest: string } | null> {
    const key = keys.warmUp(id);
    const fields = await this.#redis.hgetall(key);
    if (fields.request === undefined) return null;
    const added = fields.added ?? '';
    return {
      digest: fields.digest ?? '',
      doc: {
        ...parseDocument(requestSchema, key, fields.request),
        added: added === '' ? [] : added.split(' '),
        generation: Number(fields.generation),
        assignments: parseDocument(assignmentsSchema, key, fields.assignments ?? '[]'),
        canceled: fields.canceled === '1',
        final: fields.final === undefined ? null : parseDocument(warmupViewSchema, key, fields.final),
      },
    };
  }
}

/** Of what makes two requests the same, in one order. */
function digestOf(request: WarmupRequest): string {
  const { model, version, shapes, replicas, priority, options, tune, deadlineMs } = request;
  const sorted = Object.entries(options).sort(([a], [b]) => (a < b ? -1 : 1));
  const text = JSON.stringify([model, version, shapes, replicas, priority, sorted, tune, deadlineMs]);
  return createHash('sha256').update(text).digest('hex');
}
