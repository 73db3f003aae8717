import type { PlainRunParams, RuntimeMethods } from '@warmlane/contracts';
import { type OrtRuntime, PlainSession } from '@warmlane/ort';
import type { Device } from './device.js';
import type { Gate } from './gate.js';
import { chooseProvider } from './lane-table.js';
import type { RuntimeSlots } from './runtime-slots.js';

/** Sessions that take any shape, by the caller's key. All their work is on pool threads. */
export class PlainSessions {
  readonly #sessions = new Map<string, Promise<PlainSession>>();

  constructor(
    private readonly runtime: OrtRuntime,
    private readonly device: Device,
    private readonly gate: Gate,
    private readonly slots: RuntimeSlots,
  ) {}

  run = async (params: PlainRunParams): Promise<RuntimeMethods['plain.run']['result']> => {
    this.gate.requestArrived();
    const session = await this.#session(params);
    // The run reads them before it gives way: what was opened here is not closed under it.
    const run = await this.gate.shared(() => session.runAsync(this.slots.open(params.inputs), params.outputs));
    return params.slots === true ? this.slots.handOut(run, false) : run;
  };

  release = async ({ session: key }: { session: string }): Promise<Record<string, never>> => {
    const session = this.#sessions.get(key);
    this.#sessions.delete(key);
    (await session?.catch(() => null))?.close();
    return {};
  };

  async close(): Promise<void> {
    for (const key of [...this.#sessions.keys()]) await this.release({ session: key });
  }

  #session({ session: key, model, providers, options }: PlainRunParams): Promise<PlainSession> {
    const known = this.#sessions.get(key);
    if (known !== undefined) return known;
    const provider = chooseProvider(providers, 'allow', this.device.provider);
    const opening = this.gate.shared(() =>
      PlainSession.create(this.runtime, { model: { path: model.path }, provider, fallback: 'allow', options }),
    );
    this.#sessions.set(key, opening);
    opening.catch(() => {
      if (this.#sessions.get(key) === opening) this.#sessions.delete(key);
    });
    return opening;
  }
}
