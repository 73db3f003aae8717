import { setTimeout as wait } from 'node:timers/promises';
import { type LaneDoc, laneDocSchema, WarmlaneError, type WarmupView, warmupViewSchema } from '@warmlane/contracts';
import { z } from 'zod';

const POLL_MS = 300;
/** Three times the default: a machine with other work needed more than 600 s for ten lanes. */
const WARMUP_DEADLINE_MS = 1_800_000;

const acceptedSchema = z.object({ id: z.string(), total: z.number() });
const modelSchema = z.object({ state: z.string(), reason: z.string() });
const lanesSchema = z.object({ lanes: z.array(laneDocSchema) });
const errorSchema = z.object({ error: z.object({ message: z.string(), hint: z.string().default('') }) });

/** The admin routes that the demo uses. */
export class WarmlaneClient {
  /** @param signal ends every wait */
  constructor(
    readonly url: string,
    private readonly signal: AbortSignal,
  ) {}

  /** Waits until a worker has loaded the model. @throws WarmlaneError with the reason when it cannot be loaded */
  async untilLoaded(model: string): Promise<void> {
    for (;;) {
      const response = await this.#fetch(`/v1/models/${model}/versions/1`);
      if (response.ok) {
        const { state, reason } = modelSchema.parse(await response.json());
        if (state === 'FAILED') {
          throw new WarmlaneError('not-ready', `model ${model} cannot be loaded: ${reason}`);
        }
        if (state === 'LOADED' || state === 'READY') {
          return;
        }
      } else if (response.status !== 404 && response.status !== 503) {
        throw await failure(response);
      }
      await this.#pause();
    }
  }

  /** Asks for the model's whole plan to be warm and reports each change until it ended. */
  async warmUp(model: string, report: (view: WarmupView) => void): Promise<WarmupView> {
    const response = await this.#fetch(`/v1/models/${model}/versions/1/warmups`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ shapes: 'plan', deadlineMs: WARMUP_DEADLINE_MS }),
    });
    if (response.status !== 202) {
      throw await failure(response);
    }
    const { id } = acceptedSchema.parse(await response.json());
    for (;;) {
      const polled = await this.#fetch(`/v1/warmups/${id}`);
      if (!polled.ok) {
        throw await failure(polled);
      }
      const view = warmupViewSchema.parse(await polled.json());
      report(view);
      if (view.state !== 'queued' && view.state !== 'running') {
        return view;
      }
      await this.#pause();
    }
  }

  async lanes(model: string): Promise<LaneDoc[]> {
    const response = await this.#fetch(`/v1/lanes?model=${encodeURIComponent(model)}`);
    if (!response.ok) {
      throw await failure(response);
    }
    return lanesSchema.parse(await response.json()).lanes;
  }

  #fetch(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(`${this.url}${path}`, { ...init, signal: this.signal });
  }

  async #pause(): Promise<void> {
    await wait(POLL_MS, undefined, { signal: this.signal });
  }
}

async function failure(response: Response): Promise<WarmlaneError> {
  const text = await response.text();
  const parsed = errorSchema.safeParse(safeJson(text));
  const message = parsed.success ? parsed.data.error.message : `${response.status} ${text.slice(0, 300)}`;
  return new WarmlaneError('internal', message, parsed.success ? parsed.data.error.hint : '');
}

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
