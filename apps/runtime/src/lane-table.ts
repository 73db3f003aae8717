import {
  type CreateLaneParams,
  type ModelMetadata,
  type NamedTensor,
  type ProviderName,
  type RuntimeMethods,
  WarmlaneError,
} from '@warmlane/contracts';
import { type Capture, LaneSession, OrtError, type OrtRuntime, readModelMetadata, trimHeap } from '@warmlane/ort';
import type { Device } from './device.js';
import type { Gate } from './gate.js';
import { runItems } from './lane-items.js';
import type { RuntimeSlots } from './runtime-slots.js';
import type { WeightLease, WeightStore } from './weight-store.js';

type Method<K extends keyof RuntimeMethods> = (
  params: RuntimeMethods[K]['params'],
) => RuntimeMethods[K]['result'] | Promise<RuntimeMethods[K]['result']>;

interface Lane {
  session: LaneSession;
  weights: WeightLease | null;
  /** Inputs of the first run until the capture is over: a capture that failed starts anew with them. */
  firstInputs: NamedTensor[];
}

/** Runs of a measurement at least, whatever the budget says. */
const LEAST_RUNS = 10;
/** Captures of one lane that something else broke. */
const CAPTURE_TRIES = 3;
const NO_QUIET_MOMENT = 'not captured: other work on the device left no quiet moment for it';

/** The lanes of this process by id. Serving methods are synchronous on purpose: one run at a time, on one thread. */
export class LaneTable {
  readonly #lanes = new Map<string, Lane>();
  readonly #creating = new Set<string>();
  readonly #metadata = new Map<string, Promise<ModelMetadata>>();

  constructor(
    private readonly runtime: OrtRuntime,
    private readonly device: Device,
    private readonly gate: Gate,
    private readonly weights: WeightStore,
    private readonly slots: RuntimeSlots,
  ) {}

  create = async (params: CreateLaneParams): Promise<RuntimeMethods['lane.create']['result']> => {
    const { lane: id } = params;
    if (this.#lanes.has(id) || this.#creating.has(id)) {
      throw new WarmlaneError('conflict', `lane ${id} exists already`, 'Release it first, or take another id.');
    }
    this.#creating.add(id);
    try {
      const provider = chooseProvider(params.providers, params.fallback, this.device.provider);
      const begun = performance.now();
      // Beside the weights: each takes a session of its own where it is not known yet.
      const metadata = this.gate.shared(() => this.#metadataOf(params.model));
      metadata.catch(() => undefined);
      const { session, weights, reason } = await this.#open(params, provider, metadata);
      const createMs = performance.now() - begun;
      await trimHeap();
      this.#lanes.set(id, { session, weights, firstInputs: [] });
      return {
        createMs,
        optionsParsed: { ...session.optionsParsed },
        placement: { ...session.placement },
        weights: { sharedBytes: weights?.bytes ?? 0, reason },
      };
    } finally {
      this.#creating.delete(id);
    }
  };

  /** With the weights that the lanes of its model share, or with its own and why. */
  async #open(
    params: CreateLaneParams,
    provider: ProviderName,
    metadata: Promise<ModelMetadata>,
  ): Promise<{ session: LaneSession; weights: WeightLease | null; reason: string }> {
    const { model, options, weightsFolder: folder } = params;
    if (folder === undefined) {
      return { session: await this.#session(params, provider, await metadata), weights: null, reason: '' };
    }
    let weights: WeightLease | null = null;
    try {
      weights = await this.weights.lease({ model, provider, options, folder });
      const session = await this.#session(params, provider, await metadata, weights);
      return { session, weights, reason: weights.reason };
    } catch (error) {
      weights?.close();
      if (!mayGoAlone(error)) throw error;
      const reason = `not shared: ${error instanceof Error ? error.message : String(error)}`;
      return { session: await this.#session(params, provider, await metadata), weights: null, reason };
    }
  }

  #session(
    params: CreateLaneParams,
    provider: ProviderName,
    metadata: ModelMetadata,
    weights?: WeightLease,
  ): Promise<LaneSession> {
    return this.gate.shared(() =>
      LaneSession.create(this.runtime, {
        model: { path: weights?.path ?? params.model.path },
        provider,
        fallback: params.fallback,
        options: params.options,
        metadata,
        inputs: params.inputs,
        outputs: params.outputs,
        ...(provider === 'cuda' && this.device.cuda !== null ? { cuda: this.device.cuda } : {}),
        ...(weights === undefined ? {} : { weights }),
      }),
    );
  }

  first: Method<'lane.first'> = async ({ lane: id, inputs }) => {
    const lane = this.#lane(id);
    const { firstMs, outputs } = await this.gate.shared(() => lane.session.first(inputs));
    lane.firstInputs = inputs;
    return { firstMs, outputs, dataDependent: lane.session.dataDependent };
  };

  capture: Method<'lane.capture'> = async ({ lane: id }) => {
    const lane = this.#lane(id);
    const { session } = lane;
    try {
      if (session.provider === 'cpu') return resultOf(session.capture());
      for (let attempt = 1; ; attempt++) {
        const turn = await this.gate.alone(() => session.capture());
        if (turn === null) return { captureMs: null, graph: NO_QUIET_MOMENT };
        const { broken, retry } = turn.value;
        if (!broken) return resultOf(turn.value);
        const again = retry && attempt < CAPTURE_TRIES;
        await this.gate.shared(() => session.rebuild(again));
        await this.gate.shared(() => session.first(lane.firstInputs));
        if (!again) return resultOf(turn.value);
      }
    } finally {
      lane.firstInputs = [];
    }
  };

  /** Yields to the channel between runs, so that requests are served in between. */
  measure: Method<'lane.measure'> = async ({ lane: id, inputs, runs, budgetMs }) => {
    const runsMs: number[] = [];
    const begun = performance.now();
    while (runsMs.length < runs && (runsMs.length < LEAST_RUNS || performance.now() - begun < budgetMs)) {
      const { session } = this.#lane(id);
      const start = performance.now();
      // In place: what a request's outputs go through after the run is not the lane's time.
      session.run(inputs, null, true);
      runsMs.push(performance.now() - start);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return { runsMs };
  };

  run: Method<'lane.run'> = ({ lane: id, inputs, outputs, poison, slots = false }) => {
    const { session } = this.#lane(id);
    if (poison) session.poisonOutputs();
    else this.gate.requestArrived();
    const given = this.slots.open(inputs);
    return slots ? this.slots.handOut(session.run(given, outputs, true), true) : session.run(given, outputs);
  };

  items: Method<'lane.items'> = ({ lane: id, poison, slots = false, ...params }) => {
    const { session } = this.#lane(id);
    if (poison) session.poisonOutputs();
    else this.gate.requestArrived();
    const items = params.items.map((item) => ({ ...item, inputs: this.slots.open(item.inputs) }));
    // Each item's outputs go from the lane's own bytes into their slots: a copy in between, into new pages, costs as much again.
    const run = runItems(session, { ...params, items }, slots);
    return slots ? this.slots.handOutItems(run) : run;
  };

  release: Method<'lane.release'> = ({ lane: id }) => {
    const lane = this.#lane(id);
    this.#lanes.delete(id);
    lane.session.close();
    return {};
  };

  memory: Method<'lane.memory'> = ({ lane: id }) => {
    const { session, weights } = this.#lane(id);
    const held = weights === null ? null : { key: weights.key, bytes: weights.bytes };
    return { bytes: session.memoryBytes(), weights: held };
  };

  /** Releases all lanes, in the order of their creation. */
  close(): void {
    for (const { session } of this.#lanes.values()) session.close();
    this.#lanes.clear();
  }

  #lane(id: string): Lane {
    const lane = this.#lanes.get(id);
    if (lane !== undefined) return lane;
    throw new WarmlaneError('not-found', `this runtime has no lane ${id}`, 'It is gone or of an earlier runtime.');
  }

  /** What the model declares, read once per model: it takes a session of its own. */
  #metadataOf({ path, digest }: CreateLaneParams['model']): Promise<ModelMetadata> {
    const known = this.#metadata.get(digest);
    if (known !== undefined) return known;
    const reading = readModelMetadata(this.runtime, { path });
    this.#metadata.set(digest, reading);
    reading.catch(() => this.#metadata.delete(digest));
    return reading;
  }
}

/**
 * The provider that runs a model here. With `error` every listed one must be there, and the first is taken; with `allow`
 * the first that is there. Throws `not-supported`.
 */
export function chooseProvider(
  listed: readonly ProviderName[],
  fallback: 'error' | 'allow',
  device: ProviderName,
): ProviderName {
  const has = (provider: ProviderName): boolean => provider === 'cpu' || provider === device;
  const missing = listed.find((provider) => !has(provider));
  const chosen = listed.find(has);
  if (chosen === undefined || (missing !== undefined && fallback === 'error')) {
    throw new WarmlaneError(
      'not-supported',
      `this worker's device is ${device}: it lacks the provider ${missing ?? listed.join(', ')}`,
      'Serve the model on another worker, take the provider out of its list, or set fallback: allow.',
    );
  }
  return chosen;
}

/** Whether a lane that failed with shared weights is worth a try without: not where memory or the device is the matter. */
function mayGoAlone(error: unknown): boolean {
  return !(error instanceof OrtError && (error.reason === 'out-of-memory' || error.poisonsProcess));
}

function resultOf({ captureMs, graph }: Capture): RuntimeMethods['lane.capture']['result'] {
  return { captureMs, graph };
}
