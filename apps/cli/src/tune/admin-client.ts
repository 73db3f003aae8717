import { setTimeout as wait } from 'node:timers/promises';
import {
  compareVersions,
  type TuningView,
  tuningViewSchema,
  WarmlaneError,
  type WarmupView,
  warmupViewSchema,
} from '@warmlane/contracts';
import { z } from 'zod';

const POLL_MS = 500;
const WARMUP_DEADLINE_MS = 1_800_000;

const modelsSchema = z.object({
  models: z.array(
    z.object({ name: z.string(), versions: z.array(z.object({ version: z.string(), state: z.string() })) }),
  ),
});
const tuningsSchema = z.object({ tunings: z.array(tuningViewSchema) });
const acceptedSchema = z.object({ id: z.string() });
const errorSchema = z.object({
  error: z.object({ message: z.string(), hint: z.string().default('') }),
});

/** Which tunings are meant; null for all. */
export interface TuningFilter {
  model: string | null;
  version: string | null;
}

/** The admin routes that tell of tunings. */
export class AdminClient {
  /** @param key of the role `admin`; null where the server asks for none. @param signal ends every wait */
  constructor(
    private readonly url: string,
    private readonly key: string | null,
    private readonly signal: AbortSignal,
  ) {}

  async tunings({ model, version }: TuningFilter): Promise<TuningView[]> {
    const { tunings } = tuningsSchema.parse(await this.#json('/v1/tunings'));
    return tunings
      .filter((tuning) => model === null || tuning.model === model)
      .filter((tuning) => version === null || tuning.version === version);
  }

  /** The highest loaded version of a model. @throws WarmlaneError where it has none */
  async loadedVersion(model: string): Promise<string> {
    const { models } = modelsSchema.parse(await this.#json('/v1/models'));
    const versions = models.find((one) => one.name === model)?.versions ?? [];
    const loaded = versions.filter(({ state }) => state === 'LOADED').map(({ version }) => version);
    const highest = loaded.sort(compareVersions).at(-1);
    if (highest !== undefined) return highest;
    const known = models.map(({ name }) => name).join(', ') || 'none';
    throw new WarmlaneError('unknown-model', `no version of '${model}' is loaded`, `The server has: ${known}.`);
  }

  /** Asks for the plan of a version to be tuned; resolves when its lanes serve, and the tuner takes over. */
  async warmUpTuned(model: string, version: string, report: (view: WarmupView) => void): Promise<WarmupView> {
    const path = `/v1/models/${encodeURIComponent(model)}/versions/${encodeURIComponent(version)}/warmups`;
    const accepted = await this.#json(path, { shapes: 'plan', tune: true, deadlineMs: WARMUP_DEADLINE_MS });
    const { id } = acceptedSchema.parse(accepted);
    for (;;) {
      const view = warmupViewSchema.parse(await this.#json(`/v1/warmups/${id}`));
      report(view);
      if (view.state !== 'queued' && view.state !== 'running') return view;
      await this.pause();
    }
  }

  async pause(): Promise<void> {
    await wait(POLL_MS, undefined, { signal: this.signal });
  }

  /** GET, or POST where there is a body. */
  async #json(path: string, body?: object): Promise<unknown> {
    const headers: Record<string, string> = {
      ...(this.key === null ? {} : { authorization: `Bearer ${this.key}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    };
    const { signal } = this;
    const post = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
    const response = await fetch(`${this.url}${path}`, { ...post, headers, signal }).catch((cause: unknown) => {
      if (signal.aborted) throw cause;
      const hint = 'Start `warmlane serve`, or name the server with --url.';
      throw new WarmlaneError('internal', `nothing answers at ${this.url}`, hint, { cause });
    });
    const text = await response.text();
    if (response.ok) return JSON.parse(text);
    throw failureOf(response.status, text);
  }
}

function failureOf(status: number, text: string): WarmlaneError {
  let value: unknown = null;
  try {
    value = JSON.parse(text);
  } catch {
    // Not ours: a proxy's page, for example.
  }
  const parsed = errorSchema.safeParse(value);
  if (!parsed.success) return new WarmlaneError('internal', `the server answered ${status}: ${text.slice(0, 300)}`);
  const hint = status === 401 ? 'Name a key of the role admin with --key or WARMLANE_API_KEY.' : parsed.data.error.hint;
  return new WarmlaneError('internal', parsed.data.error.message, hint);
}
