import { EventEmitter } from 'node:events';
import { laneStateSchema } from '@warmlane/contracts';
import type { Redis } from 'ioredis';
import { z } from 'zod';
import { duplicateRedis } from './client.js';
import { NOTICES_CHANNEL } from './keys.js';
import type { RedisLogger } from './logger.js';

/**
 * Something changed; read it again. Only a hint that saves waiting for the next poll: a notice may be lost, so nothing
 * may depend on one. The stores of this library publish `plan`, `model`, `load`, `lane`, `worker`, `warmup`, `verify`,
 * `evict` and `tuning` themselves, in the script that makes the change; producers publish `abandon`.
 */
export const noticeSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('plan'), model: z.string(), version: z.string() }),
  /** version null: every version of the name. */
  z.object({ kind: z.literal('model'), model: z.string(), version: z.string().nullable() }),
  z.object({
    kind: z.literal('lane'),
    lane: z.string(),
    model: z.string(),
    version: z.string(),
    shapeKey: z.string(),
    state: laneStateSchema,
    worker: z.string(),
    /** Shape class whose holders changed; null where they did not. */
    class: z.string().nullable(),
  }),
  z.object({ kind: z.literal('worker'), worker: z.string() }),
  /** A worker said something about a wish to load the model. */
  z.object({ kind: z.literal('load'), model: z.string(), worker: z.string() }),
  z.object({ kind: z.literal('warmup'), warmup: z.string() }),
  /** A warm-up was canceled: whoever runs one of its children ends it. */
  z.object({ kind: z.literal('cancel'), warmup: z.string() }),
  /** Nobody waits for this inference any more: whoever has its job and has not begun it need not. */
  z.object({ kind: z.literal('abandon'), request: z.string() }),
  /** A lane of this worker is to be verified again. */
  z.object({ kind: z.literal('verify'), worker: z.string(), lane: z.string() }),
  /** A lane of this worker that no plan holds is to end. */
  z.object({ kind: z.literal('evict'), worker: z.string(), lane: z.string() }),
  /** Options of a shape were chosen, or the choice was taken back. */
  z.object({ kind: z.literal('tuning'), model: z.string(), version: z.string(), shapeKey: z.string() }),
]);
export type Notice = z.infer<typeof noticeSchema>;

export function encodeNotice(notice: Notice): string {
  return JSON.stringify(notice);
}

interface NoticesEvents {
  notice: [notice: Notice];
  resync: [];
}

/** Publish and subscribe on {@link NOTICES_CHANNEL}. The subscription has a connection of its own. */
export class Notices {
  readonly #redis: Redis;
  readonly #logger: RedisLogger | null;
  readonly #events = new EventEmitter<NoticesEvents>();
  #subscriber: Redis | null = null;
  #ready: Promise<void> | null = null;

  constructor(redis: Redis, logger?: RedisLogger) {
    this.#redis = redis;
    this.#logger = logger ?? null;
    this.#events.setMaxListeners(0);
  }

  async publish(notice: Notice): Promise<void> {
    await this.#redis.publish(NOTICES_CHANNEL, encodeNotice(notice));
  }

  /** Calls the listener for every notice from when the promise resolves. Returns the way to stop it. */
  async subscribe(listener: (notice: Notice) => void): Promise<() => void> {
    this.#events.on('notice', listener);
    this.#ready ??= this.#open();
    await this.#ready;
    return () => this.#events.off('notice', listener);
  }

  /** Called when the subscription was lost and is back: notices may have been missed, poll now. */
  onResync(listener: () => void): () => void {
    this.#events.on('resync', listener);
    return () => this.#events.off('resync', listener);
  }

  close(): void {
    this.#subscriber?.disconnect();
    this.#subscriber = null;
    this.#events.removeAllListeners();
  }

  async #open(): Promise<void> {
    const subscriber = duplicateRedis(this.#redis, 'notices');
    this.#subscriber = subscriber;
    subscriber.on('message', (_channel: string, text: string) => this.#receive(text));
    await subscriber.subscribe(NOTICES_CHANNEL);
    // ioredis subscribes again by itself, before it emits `ready`.
    subscriber.on('ready', () => this.#events.emit('resync'));
  }

  #receive(text: string): void {
    let notice: Notice;
    try {
      notice = noticeSchema.parse(JSON.parse(text));
    } catch {
      // Another version's, or somebody else's: readers poll anyway.
      this.#logger?.warn(
        { text: text.slice(0, 200) },
        'a notice of another form was dropped; run one version per Redis',
      );
      return;
    }
    this.#events.emit('notice', notice);
  }
}
