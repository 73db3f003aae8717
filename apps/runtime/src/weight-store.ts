import type { HeldWeights } from '@warmlane/contracts';
import { type LaneWeights, OrtError, type OrtRuntime, placeNodes, SharedWeights } from '@warmlane/ort';
import type { Device } from './device.js';
import type { Gate } from './gate.js';
import {
  CannotShare,
  discard,
  keyOf,
  type PrepareContext,
  type PreparedModel,
  type PrepareRequest,
  prepareModel,
} from './prepared-model.js';

/** What a lane takes from the weights of its model. */
export interface WeightLease extends LaneWeights, HeldWeights {
  /** What its session is made from. */
  readonly path: string;
  /** Why its session reads the weights all the same; empty where it does not. */
  readonly reason: string;
}

interface Loaded {
  prepared: PreparedModel;
  weights: SharedWeights;
}

interface Entry {
  loading: Promise<Loaded>;
  users: number;
}

/** The weights of models, each in memory once while any lane uses them. */
export class WeightStore {
  readonly #entries = new Map<string, Entry>();
  /** What the model itself forbids is not looked for again. */
  readonly #refused = new Map<string, CannotShare>();
  readonly #context: PrepareContext;

  /** `libraries` names those of ONNX Runtime that are loaded. */
  constructor(
    private readonly runtime: OrtRuntime,
    private readonly device: Pick<Device, 'cuda'>,
    gate: Gate,
    libraries: string,
  ) {
    const place: PrepareContext['place'] = (model, weights, { provider, options }) =>
      gate.shared(() => placeNodes(runtime, { model, weights, provider, options, cuda: device.cuda }));
    this.#context = { runtime, libraries, place };
  }

  /** Rejects with {@link CannotShare} where the model's lanes cannot, with `out-of-memory` where the weights do not fit. */
  async lease(request: PrepareRequest): Promise<WeightLease> {
    const key = keyOf(this.#context, request);
    const refused = this.#refused.get(key);
    if (refused !== undefined) throw refused;
    const entry = this.#entries.get(key) ?? { loading: this.#load(request), users: 0 };
    this.#entries.set(key, entry);
    entry.users += 1;
    try {
      const { prepared, weights } = await entry.loading;
      const { path, reason, bytes } = prepared;
      const { values, prepacked } = weights;
      let open = true;
      const close = (): void => {
        if (open) this.#leave(key, entry, weights);
        open = false;
      };
      return { key, path, reason, bytes: weights.bytes + bytes.packed, values, prepacked, close };
    } catch (error) {
      this.#leave(key, entry, null);
      if (error instanceof CannotShare) this.#refused.set(key, error);
      throw error;
    }
  }

  #leave(key: string, entry: Entry, weights: SharedWeights | null): void {
    entry.users -= 1;
    if (entry.users > 0) return;
    if (this.#entries.get(key) === entry) this.#entries.delete(key);
    weights?.close();
  }

  async #load(request: PrepareRequest): Promise<Loaded> {
    const cuda = request.provider === 'cuda' ? this.device.cuda : null;
    if (request.provider === 'cuda' && cuda === null) throw new CannotShare('there is no CUDA device here');
    const prepared = await prepareModel(this.#context, request);
    try {
      return { prepared, weights: await SharedWeights.load(this.runtime, prepared.sources, cuda) };
    } catch (error) {
      if (error instanceof OrtError && error.reason === 'invalid-protobuf') await discard(prepared);
      throw error;
    }
  }
}
