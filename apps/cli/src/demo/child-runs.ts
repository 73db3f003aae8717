import { fileURLToPath } from 'node:url';
import type {
  ErrorBody,
  NamedTensor,
  ParsedOptions,
  ReferenceHello,
  ReferenceMethods,
  RuntimeHello,
  RuntimeMethods,
} from '@warmlane/contracts';
import { WarmlaneError } from '@warmlane/contracts';
import { type Child, spawnChild } from '@warmlane/ipc';
import { median } from '@warmlane/lanes';
import type { DemoShape } from './demo-plan.js';
import type { PlacedModel } from './demo-repository.js';

const CALL_LIMIT_MS = 120_000;
const REVISIT_ROUNDS = 5;
const NO_OPTIONS: ParsedOptions = { provider: {}, session: {}, run: {} };

type Report = (done: number, total: number) => void;

/** What the reference (onnxruntime-node, one thread, no optimisation, a process of its own) answers to each sample. */
export async function referenceAnswers(
  models: readonly PlacedModel[],
  shapes: readonly { model: string; inputs: NamedTensor[] }[],
  env: NodeJS.ProcessEnv,
  report: Report,
): Promise<NamedTensor[][]> {
  const child = spawnChild<ReferenceMethods, { hello: ReferenceHello }>({
    entry: programOf('reference'),
    role: 'reference',
    args: ['--log-level', 'warn'],
    env: { ...env, ORT_LIB_DIR: undefined, CUDA_VISIBLE_DEVICES: '-1' },
  });
  try {
    await hello(child);
    for (const { path, digest } of models) {
      await child.channel.call('model.load', { path, digest }, { timeoutMs: CALL_LIMIT_MS });
    }
    const answers: NamedTensor[][] = [];
    for (const { model, inputs } of shapes) {
      const { path, digest } = placed(models, model);
      const params = { path, digest, inputs, outputs: null, cacheKey: null };
      const result = await child.channel.call('model.run', params, { timeoutMs: CALL_LIMIT_MS });
      answers.push(result.outputs);
      report(answers.length, shapes.length);
    }
    return answers;
  } finally {
    await end(child);
  }
}

/**
 * How long a shape takes on one plain session that serves all shapes of its model in turn, as a server without lanes does:
 * median of the rounds after the first, ms, in the order of `shapes`.
 */
export async function plainRevisits(
  models: readonly PlacedModel[],
  shapes: readonly DemoShape[],
  provider: 'cpu' | 'cuda',
  env: NodeJS.ProcessEnv,
  report: Report,
): Promise<number[]> {
  const child = spawnChild<RuntimeMethods, RuntimeEvents>({
    entry: programOf('runtime'),
    role: 'trial',
    args: ['--provider', provider, '--parent', String(process.pid)],
    env: { ...env, CUDA_DEVICE_ORDER: 'PCI_BUS_ID', CUDA_VISIBLE_DEVICES: provider === 'cpu' ? '-1' : visible(env) },
  });
  try {
    await hello(child);
    const runs: number[][] = shapes.map(() => []);
    for (let round = 0; round <= REVISIT_ROUNDS; round += 1) {
      for (const [at, shape] of shapes.entries()) {
        const { path, digest } = placed(models, shape.model);
        const sample = shape.samples[round % shape.samples.length];
        const params = {
          session: `plain-${shape.model}`,
          model: { path, digest },
          providers: [provider],
          options: NO_OPTIONS,
          inputs: sample?.inputs ?? [],
          outputs: sample?.expected.map((output) => output.name) ?? [],
        };
        const { computeMs } = await child.channel.call('plain.run', params, { timeoutMs: CALL_LIMIT_MS });
        // The first round is the first run of each shape, which every server has.
        if (round > 0) {
          runs[at]?.push(computeMs);
        }
      }
      report(round, REVISIT_ROUNDS);
    }
    return runs.map((times) => median(times));
  } finally {
    await end(child);
  }
}

type RuntimeEvents = { hello: RuntimeHello; refused: ErrorBody };

function programOf(app: 'reference' | 'runtime'): string {
  return fileURLToPath(new URL(`../../../${app}/dist/main.js`, import.meta.url));
}

function placed(models: readonly PlacedModel[], name: string): PlacedModel {
  const found = models.find(({ model }) => model.name === name);
  if (found === undefined) {
    throw new WarmlaneError('internal', `the demo has no model '${name}'`);
  }
  return found;
}

function visible(env: NodeJS.ProcessEnv): string {
  return env.CUDA_VISIBLE_DEVICES ?? '0';
}

/** Resolves when the child is up. @throws WarmlaneError with its refusal, or that it ended */
function hello(child: Child<ReferenceMethods, { hello: ReferenceHello }> | Child<RuntimeMethods, RuntimeEvents>) {
  return new Promise<void>((resolve, reject) => {
    const channel: Listening = child.channel;
    channel.on('hello', () => resolve());
    channel.on('refused', (body) => reject(WarmlaneError.fromBody(body)));
    channel.onClose((reason) => reject(reason));
  });
}

interface Listening {
  on(event: 'hello', listener: () => void): unknown;
  on(event: 'refused', listener: (body: ErrorBody) => void): unknown;
  onClose(listener: (reason: Error) => void): void;
}

async function end(child: { kill(signal: NodeJS.Signals): void; exited: Promise<unknown> }): Promise<void> {
  // It holds nothing worth an orderly end.
  child.kill('SIGKILL');
  await child.exited;
}
