import { join } from 'node:path';
import {
  type ModelMetadata,
  type NamedTensor,
  type ParsedOptions,
  parseModelOptions,
  parseShapeKey,
  type TensorSpec,
} from '@warmlane/contracts';
import { batchedOutputs, compareOutputs, finish, percentile } from '@warmlane/lanes';
import { CudaRuntime, LaneSession, OrtRuntime, PlainSession } from '@warmlane/ort';

/** What every part of the bench works on: the library, the device, the folder of models. */
export interface Stage {
  runtime: OrtRuntime;
  cuda: CudaRuntime;
  modelsDir: string;
}

export function openStage(env: { libDir: string; modelsDir: string }): Stage {
  return { runtime: OrtRuntime.load({ libDir: env.libDir }), cuda: CudaRuntime.load(0), modelsDir: env.modelsDir };
}

const rec = (batch: number, width: number) => `x:float32[${batch},3,48,${width}]`;
const det = (batch: number, height: number, width: number) => `x:float32[${batch},3,${height},${width}]`;

export type ModelName = 'rec' | 'det';

/** The shapes that the figures are defined on. */
export const SHAPES: Record<ModelName, string[]> = {
  rec: [...[1, 2, 4, 8].flatMap((batch) => [rec(batch, 160), rec(batch, 320)]), rec(8, 480), rec(2, 333)],
  det: [1, 2].flatMap((batch) => [
    det(batch, 320, 320),
    det(batch, 640, 480),
    det(batch, 960, 960),
    det(batch, 736, 1280),
  ]),
};

/** Uniform numbers in [0, 1), the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Floats in a range, default [-1, 1], for every input of a shape key. */
export function randomInputs(shapeKey: string, seed: number, [low, high]: [number, number] = [-1, 1]): NamedTensor[] {
  const random = seeded(seed);
  return parseShapeKey(shapeKey).map((spec) => {
    const values = new Float32Array(spec.dims.reduce((product, dim) => product * dim, 1));
    for (let at = 0; at < values.length; at += 1) values[at] = low + random() * (high - low);
    return { ...spec, data: new Uint8Array(values.buffer) };
  });
}

export function modelPath(stage: Pick<Stage, 'modelsDir'>, name: string): string {
  return join(stage.modelsDir, `${name}.onnx`);
}

function cudaOptions(options: Record<string, string | number>): ParsedOptions {
  return parseModelOptions('cuda', options);
}

export async function openLane(
  stage: Stage,
  path: string,
  shapeKey: string,
  options: Record<string, string | number>,
): Promise<LaneSession> {
  const inputs: TensorSpec[] = parseShapeKey(shapeKey);
  return LaneSession.create(stage.runtime, {
    model: { path },
    provider: 'cuda',
    fallback: 'allow',
    options: cudaOptions(options),
    inputs,
    cuda: stage.cuda,
  });
}

/** A lane with its first run and its graph. Throws where it has none: the figures are of graphs. */
export async function openCaptured(
  stage: Stage,
  path: string,
  shapeKey: string,
  options: Record<string, string | number>,
): Promise<{ lane: LaneSession; createMs: number; firstMs: number; captureMs: number }> {
  const start = performance.now();
  const lane = await openLane(stage, path, shapeKey, options);
  const createMs = performance.now() - start;
  const { firstMs } = await lane.first(randomInputs(shapeKey, 1));
  const { captureMs, graph } = lane.capture();
  if (captureMs === null) throw new Error(`${shapeKey}: no graph: ${graph}`);
  return { lane, createMs, firstMs, captureMs };
}

export function openPlain(stage: Stage, path: string, options: Record<string, string | number>): Promise<PlainSession> {
  return PlainSession.create(stage.runtime, {
    model: { path },
    provider: 'cuda',
    fallback: 'allow',
    options: cudaOptions(options),
    device: stage.cuda.device,
  });
}

/** The same inputs on the CPU provider: what every answer of the GPU is compared with. */
export async function cpuReference(
  stage: Pick<Stage, 'runtime'>,
  path: string,
  inputs: Map<string, NamedTensor[]>,
): Promise<{ metadata: ModelMetadata; outputs: Map<string, NamedTensor[]> }> {
  const session = await PlainSession.create(stage.runtime, { model: { path }, provider: 'cpu' });
  try {
    const outputs = new Map<string, NamedTensor[]>();
    for (const [key, tensors] of inputs) outputs.set(key, (await session.runAsync(tensors)).outputs);
    return { metadata: session.metadata, outputs };
  } finally {
    session.close();
  }
}

export function worstError(metadata: ModelMetadata, got: NamedTensor[], expected: NamedTensor[]): number {
  return Math.max(...finish(compareOutputs(got, expected, batchedOutputs(metadata))).map((output) => output.error));
}

export function summary(runsMs: readonly number[]): { p50Ms: number; p99Ms: number; maxMs: number } {
  return { p50Ms: percentile(runsMs, 0.5), p99Ms: percentile(runsMs, 0.99), maxMs: Math.max(...runsMs) };
}
