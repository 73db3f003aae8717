import type { Redis } from 'ioredis';
import { z } from 'zod';
import { type Answer, decodeAnswer } from './answer.codec.js';
import { parseDocument } from './documents.js';
import { keys } from './keys.js';

const inferenceSchema = z.object({
  /** The request id, under which the answer is written. */
  id: z.string(),
  /** Id of the API key that asked; empty where keys are not used. */
  owner: z.string(),
  model: z.string(),
  version: z.string(),
  shapeKey: z.string(),
  /** Redis TIME in ms. */
  acceptedAt: z.number(),
  deadlineAt: z.number(),
  /** What the asker wants to find again with the answer; only kept here. */
  note: z.string().default(''),
});

/** An accepted asynchronous inference. */
export type InferenceDoc = z.infer<typeof inferenceSchema>;

/** As it is given: the note may be left out. */
export type InferenceInput = z.input<typeof inferenceSchema>;

/**
 * Asynchronous inferences. There is no state to keep beside the answer: while the record stands without one it runs, and
 * the script that writes the answer lets the record end with it, 60 s later.
 */
export class InferenceStore {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** Notes an inference before its job is added; kept for `ttlMs` (its deadline + 60 s) unless it is answered. */
  async create(doc: InferenceInput, ttlMs: number): Promise<void> {
    await this.#redis.set(keys.result(doc.id), JSON.stringify(doc), 'PX', Math.ceil(ttlMs));
  }

  /** Forgets one whose job could not be added. */
  async remove(id: string): Promise<void> {
    await this.#redis.del(keys.result(id));
  }

  /** The inference and its answer (null: it runs); null where it is unknown, over, or another key's. */
  async get(id: string, owner: string): Promise<{ doc: InferenceDoc; answer: Answer | null } | null> {
    const [record, answer] = await this.#redis.mgetBuffer(keys.result(id), keys.reply(id));
    if (record === null || record === undefined) return null;
    const doc = parseDocument(inferenceSchema, keys.result(id), record.toString('utf8'));
    if (doc.owner !== owner) return null;
    return { doc, answer: answer === null || answer === undefined ? null : decodeAnswer(answer) };
  }
}
