import type { PlainRunParams, RuntimeMethods } from '@warmlane/contracts';
import { type OrtRuntime, PlainSession } from '@warmlane/ort';
import type { Device } from './device.js';
import type { Gate } from './gate.js';
import { chooseProvider } from './lane-table.js';
import type { RuntimeSlots } from './runtime-slots.js';

/** Sessions that take any shape, by the caller's key and what they are made with. All their work is on pool threads. */
export class PlainSessions {
  readonly #sessions = new Map<string, { key: string; opening: Promise<PlainSession> }>();

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

  /** Closes all sessions of the key. */
  release = async ({ session: key }: { session: string }): Promise<Record<string, never>> => {
    for (const [identity, session] of [...this.#sessions])
      if (session.key === key) await this.#close(identity, session);
    return {};
  };

  async close(): Promise<void> {
    for (const [identity, session] of [...this.#sessions]) await this.#close(identity, session);
  }

  async #close(identity: string, { opening }: { opening: Promise<PlainSession> }): Promise<void> {
    this.#sessions.delete(identity);
    (await opening.catch(() => null))?.close();
  }

  #session(params: PlainRunParams): Promise<PlainSession> {
    const { session: key, model, providers, options } = params;
    const identity = identityOf(params);
    const known = this.#sessions.get(identity);
    if (known !== undefined) return known.opening;
    const provider = chooseProvider(providers, 'allow', this.device.provider);
    const opening = this.gate.shared(() =>
      PlainSession.create(this.runtime, { model: { path: model.path }, provider, fallback: 'allow', options }),
    );
    this.#sessions.set(identity, { key, opening });
    opening.catch(() => {
      if (this.#sessions.get(identity)?.opening === opening) this.#sessions.delete(identity);
    });
    return opening;
  }
}

/** Two versions may have one model file and other options: neither is served by the other's session. */
function identityOf({ session, model, providers, options }: PlainRunParams): string {
  const entries = [options.provider, options.session, options.run].map((given) => Object.entries(given).sort());
  return JSON.stringify([session, model.digest, providers, entries]);
}
