import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  modelConfigSchema,
  printShapeKey,
  type ReferenceHello,
  type ReferenceMethods,
  type RuntimeMethods,
  type WarmRecord,
} from '@warmlane/contracts';
import { ProcessAdapter } from '../../apps/worker/src/children/process-adapter.js';
import { BatchProver } from '../../apps/worker/src/lanes/batch-proof.js';
import { Lane } from '../../apps/worker/src/lanes/lane.js';
import type { LaneHost } from '../../apps/worker/src/lanes/lane-calls.js';
import { LaneRegistry } from '../../apps/worker/src/lanes/lane-registry.js';
import { laneSpecOf } from '../../apps/worker/src/lanes/lane-spec.js';
import { LaneWarmer } from '../../apps/worker/src/lanes/lane-warmer.js';
import { PadProver } from '../../apps/worker/src/lanes/pad-proof.js';
import { Revisitor } from '../../apps/worker/src/lanes/revisit.js';
import { Verifier } from '../../apps/worker/src/lanes/verifier.js';
import type { HeldVersion } from '../../apps/worker/src/models/held-version.js';
import { type DisposableRuntime, disposableRuntime } from '../../apps/worker/src/processes/disposable-runtime.js';
import { ReferenceProcess } from '../../apps/worker/src/processes/reference-process.js';
import type { RuntimeDevice } from '../../apps/worker/src/processes/runtime-process.js';

const LIMIT = { timeoutMs: 120_000 };

export type Method = keyof RuntimeMethods;
/** Stands between the worker's code and the runtime. `real` makes the call. */
export type Between = <K extends Method>(
  method: K,
  params: RuntimeMethods[K]['params'],
  real: (params: RuntimeMethods[K]['params']) => Promise<RuntimeMethods[K]['result']>,
) => Promise<RuntimeMethods[K]['result']>;

const HONEST: Between = (_, params, real) => real(params);

/** The worker's way from a plan's shape to a warm record, with a real runtime and a real reference, without Redis. */
export class WarmerRig implements AsyncDisposable {
  readonly registry = new LaneRegistry();
  readonly host: LaneHost;
  readonly verifier: Verifier;
  between: Between = HONEST;

  private constructor(
    readonly runtime: DisposableRuntime,
    private readonly reference: ReferenceProcess,
    readonly folder: string,
    private readonly provider: 'cpu' | 'cuda',
  ) {
    this.host = {
      call: (method, params, options) =>
        this.between(method, params, (given) => this.runtime.call(method, given, options)),
    };
    this.verifier = new Verifier(new ProcessAdapter<ReferenceMethods, ReferenceHello>(reference));
  }

  static async start(device: RuntimeDevice, ortLibDir: string | null = null): Promise<WarmerRig> {
    const folder = await mkdtemp(path.join(tmpdir(), 'warmlane-warmer-'));
    const reference = new ReferenceProcess('reference', { env: process.env, referencesFolder: folder });
    const [runtime] = await Promise.all([
      disposableRuntime({ device, env: process.env, ortLibDir }),
      reference.start(),
    ]);
    return new WarmerRig(runtime, reference, folder, device.provider);
  }

  /** A version as the worker holds it, from a model's bytes or its file. */
  async hold(name: string, model: Uint8Array | { path: string }, config: object = {}): Promise<HeldVersion> {
    const modelPath = 'path' in model ? model.path : path.join(this.folder, `${name}.onnx`);
    if (!('path' in model)) await writeFile(modelPath, model);
    const digest = createHash('sha256').update(modelPath).digest('hex');
    const metadata = await this.reference.call('model.load', { path: modelPath, digest }, LIMIT);
    return {
      name,
      version: '1',
      folder: this.folder,
      files: { modelPath, digest, stamps: [] },
      config: modelConfigSchema.parse(config),
      metadata,
      sampleFiles: new Map(),
      refusal: null,
    };
  }

  lane(held: HeldVersion, shapeKey: string, options: Record<string, string> = {}): Lane {
    const spec = laneSpecOf(held, { shapeKey, options }, this.provider);
    if (spec.refusal !== null) throw new Error(`${shapeKey}: ${spec.refusal}`);
    return new Lane(spec, 'plan', 1, 5, new Date().toISOString());
  }

  /** Every step of the worker's, verification and revisit included. Rejects where the lane would not become READY. */
  async warm(lane: Lane): Promise<WarmRecord> {
    const noPlan = { plans: { entries: () => Promise.resolve([]) } };
    const warmer = new LaneWarmer(
      this.host,
      { openStep: () => Promise.resolve(), closeStep: () => Promise.resolve(), move: () => Promise.resolve() },
      this.verifier,
      new BatchProver(this.verifier),
      new PadProver(this.verifier),
      new Revisitor(this.host, this.registry, this.verifier, noPlan),
      { learn: () => Promise.resolve(), weightsFolder: () => undefined },
      { runs: 0 },
      { environment: 'test' },
    );
    try {
      return await warmer.prove(lane, await warmer.capture(lane, await warmer.create(lane)));
    } catch (thrown) {
      await this.release(lane).catch(() => undefined);
      throw thrown;
    }
  }

  /** A lane that serves, as others in the registry see it. */
  async ready(lane: Lane): Promise<Lane> {
    lane.record = await this.warm(lane);
    lane.state = 'READY';
    this.registry.add(lane);
    return lane;
  }

  async release(lane: Lane): Promise<void> {
    await this.runtime.call('lane.release', { lane: lane.id }, LIMIT);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.runtime[Symbol.asyncDispose]();
    await this.reference.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** `x` of float32 with these dims. */
export function xOf(...dims: number[]): string {
  return printShapeKey([{ name: 'x', dtype: 'float32', dims }]);
}
