import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CUDA_ENVIRONMENT,
  type ErrorBody,
  type NamedTensor,
  type ProviderName,
  type RuntimeHello,
  type RuntimeMethods,
} from '@warmlane/contracts';
import { type Child, spawnChild } from '@warmlane/ipc';
import { compareOutputs, finish } from '@warmlane/lanes';
import { type StackModel, stackInput, writeStackModel } from '@warmlane/testing';
import { ROOT, type Row } from '../support/result.js';

export interface WeightsBench {
  provider: ProviderName;
  /** What CUDA_VISIBLE_DEVICES takes; not looked at on the CPU. */
  visible: string;
  libDir: string | null;
  stack: StackModel;
  lanes: number;
}

export interface WeightsFigures {
  rows: Row[];
  /** Memory of all lanes with weights of their own over that with shared weights; above it that of all but the first. */
  ratio: number;
  ratioAfterFirst: number;
  /** Largest relative difference between the answers of lanes with shared weights and with their own. */
  difference: number;
}

type Runtime = Child<RuntimeMethods, { hello: RuntimeHello; refused: ErrorBody }>;

const MIB = 2 ** 20;
const LIMIT = { timeoutMs: 600_000 };
const SMALL: StackModel = { kind: 'matmul', layers: 1, width: 64, seed: 1 };

/**
 * Lanes of one generated model in a runtime process, first with weights of their own, then sharing them: memory of the
 * device (on the CPU: of the process), time and bytes read of each creation. A throw-away lane of a small model comes first,
 * so that what the libraries take once is on neither side.
 */
export async function measureSharedWeights(bench: WeightsBench): Promise<WeightsFigures> {
  const scratch = await mkdtemp(join(tmpdir(), 'warmlane-weights-'));
  try {
    const model = join(scratch, 'model.onnx');
    const small = join(scratch, 'small.onnx');
    const weightBytes = await writeStackModel(model, bench.stack);
    await writeStackModel(small, SMALL);
    const own = await measure(bench, { model, small, weightsFolder: undefined });
    const shared = await measure(bench, { model, small, weightsFolder: join(scratch, 'prepared') });
    const total = ({ memory }: Measured) => (memory.at(-1) ?? 0) - (memory[0] ?? 0);
    const afterFirst = ({ memory }: Measured) => (memory.at(-1) ?? 0) - (memory[1] ?? 0);
    const differences = own.outputs.flatMap((outputs, at) =>
      finish(compareOutputs(shared.outputs[at] ?? [], outputs, new Set())).map((output) => output.error),
    );
    const row = { part: 'sharedWeights', model: bench.stack.kind, weightsMiB: Math.round(weightBytes / MIB) };
    return {
      rows: [...own.rows, ...shared.rows].map((measured) => ({ ...row, ...measured })),
      ratio: total(own) / total(shared),
      ratioAfterFirst: afterFirst(own) / Math.max(MIB, afterFirst(shared)),
      difference: Math.max(...differences),
    };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

interface Measured {
  rows: Row[];
  /** Bytes before the first lane and after each. */
  memory: number[];
  outputs: NamedTensor[][];
}

async function measure(
  bench: WeightsBench,
  files: { model: string; small: string; weightsFolder: string | undefined },
): Promise<Measured> {
  const { stack, lanes, provider } = bench;
  const runtime = await start(bench);
  try {
    const usedBytes = async (): Promise<number> => {
      const { free, total } = await runtime.channel.call('memory', {}, LIMIT);
      return provider === 'cuda' ? total - free : await residentBytes(runtime.pid);
    };
    await warm(runtime, provider, { lane: 'small', path: files.small, input: stackInput(SMALL, { batch: 1 }) });
    await runtime.channel.call('lane.release', { lane: 'small' }, LIMIT);
    const measured: Measured = { rows: [], memory: [await usedBytes()], outputs: [] };
    for (let at = 0; at < lanes; at += 1) {
      const lane = `lane-${at}`;
      const input = stackInput(stack, { batch: at + 1 });
      const before = measured.memory.at(-1) ?? 0;
      const made = await warm(runtime, provider, {
        lane,
        path: files.model,
        input,
        weightsFolder: files.weightsFolder,
      });
      measured.memory.push(await usedBytes());
      measured.rows.push({
        weights: files.weightsFolder === undefined ? 'own' : 'shared',
        lane: at + 1,
        createMs: Math.round(made.createMs),
        readMiB: Math.round((10 * made.readBytes) / MIB) / 10,
        memoryMiB: Math.round(((measured.memory.at(-1) ?? 0) - before) / MIB),
        graph: made.graph,
        reason: made.reason,
      });
    }
    for (let at = 0; at < lanes; at += 1) {
      const run = { lane: `lane-${at}`, inputs: [stackInput(stack, { batch: at + 1 })], outputs: null, poison: true };
      measured.outputs.push((await runtime.channel.call('lane.run', run, LIMIT)).outputs);
    }
    return measured;
  } finally {
    runtime.kill('SIGKILL');
    await runtime.exited;
  }
}

async function start({ provider, visible, libDir }: WeightsBench): Promise<Runtime> {
  const runtime: Runtime = spawnChild({
    entry: `${ROOT}apps/runtime/dist/main.js`,
    role: 'trial',
    args: ['--provider', provider, '--parent', String(process.pid), '--locks', tmpdir()],
    env: {
      ...CUDA_ENVIRONMENT,
      ...process.env,
      ORT_LIB_DIR: libDir ?? undefined,
      CUDA_VISIBLE_DEVICES: provider === 'cuda' ? visible : '-1',
    },
  });
  await new Promise<void>((resolve, reject) => {
    runtime.channel.on('hello', () => resolve());
    runtime.channel.on('refused', ({ message }) => reject(new Error(message)));
    void runtime.exited.then(({ code, signal }) => reject(new Error(`the runtime ended: ${code ?? signal}`)));
  });
  return runtime;
}

async function warm(
  runtime: Runtime,
  provider: ProviderName,
  of: { lane: string; path: string; input: NamedTensor; weightsFolder?: string | undefined },
): Promise<{ createMs: number; readBytes: number; graph: string; reason: string }> {
  const { lane, path, input, weightsFolder } = of;
  const before = await readBytes(runtime.pid);
  const created = await runtime.channel.call(
    'lane.create',
    {
      lane,
      model: { path, digest: `bench-${path}` },
      providers: [provider],
      fallback: 'error',
      options: { provider: {}, session: provider === 'cpu' ? { intra_op_num_threads: '1' } : {}, run: {} },
      inputs: [{ name: input.name, dtype: input.dtype, dims: input.dims }],
      outputs: ['y'],
      weightsFolder,
    },
    LIMIT,
  );
  const read = (await readBytes(runtime.pid)) - before;
  await runtime.channel.call('lane.first', { lane, inputs: [input] }, LIMIT);
  const { graph } = await runtime.channel.call('lane.capture', { lane }, LIMIT);
  return { createMs: created.createMs, readBytes: read, graph, reason: created.weights.reason };
}

/** Bytes that the process asked the kernel to read so far. */
async function readBytes(pid: number): Promise<number> {
  return Number(/^rchar: (\d+)/m.exec(await readFile(`/proc/${pid}/io`, 'utf8'))?.[1]);
}

async function residentBytes(pid: number): Promise<number> {
  return 1024 * Number(/^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]);
}
