import type { NamedTensor } from '@warmlane/contracts';
import { compareOutputs, finish } from '@warmlane/lanes';
import type { DemoRequest, DemoShape } from './demo-plan.js';
import type { Served } from './demo-result.js';
import { infer } from './infer-client.js';

export interface SendOptions {
  url: string;
  shapes: readonly DemoShape[];
  requests: readonly DemoRequest[];
  /** How many are under way at once. */
  inFlight: number;
  /** Largest relative error that counts as right, by model. */
  toleranceOf: (model: string) => number;
  /** Called after each answer. */
  report: (done: number) => void;
  /** Called with what was wrong with an answer, or why there was none. */
  complain: (text: string) => void;
  signal: AbortSignal;
}

/** Sends all requests over HTTP and checks every answer against the reference's. */
export async function sendRequests(options: SendOptions): Promise<Served[]> {
  const served: Served[] = [];
  const queue = options.requests.values();
  const sendNext = async (): Promise<void> => {
    for (const request of queue) {
      if (options.signal.aborted) {
        return;
      }
      served.push(await sendOne(request, options));
      options.report(served.length);
    }
  };
  await Promise.all(Array.from({ length: options.inFlight }, sendNext));
  return served;
}

async function sendOne(request: DemoRequest, options: SendOptions): Promise<Served> {
  const shape = options.shapes[request.shape];
  const sample = shape?.samples[request.sample];
  if (shape === undefined || sample === undefined) {
    throw new RangeError(`the demo has no sample ${request.sample} of shape ${request.shape}`);
  }
  try {
    const { outputs, lane } = await infer(options.url, shape.model, sample.inputs, options.signal);
    const { error, reason } = worstError(outputs, sample.expected);
    const wrong = !(error <= options.toleranceOf(shape.model));
    if (wrong) {
      options.complain(`${shape.model} ${shape.shapeKey} (${lane}): ${reason || `relative error ${error}`}`);
    }
    return { shape: request.shape, lane, error, wrong };
  } catch (error) {
    options.signal.throwIfAborted();
    options.complain(`${shape.model} ${shape.shapeKey}: ${error instanceof Error ? error.message : String(error)}`);
    return { shape: request.shape, lane: '', error: Number.POSITIVE_INFINITY, wrong: true };
  }
}

function worstError(got: readonly NamedTensor[], expected: readonly NamedTensor[]): { error: number; reason: string } {
  // Every model of the demo has its batch on axis 0 of every output.
  const batched = new Set(expected.map((output) => output.name));
  const errors = finish(compareOutputs(got, expected, batched));
  return errors.reduce((worst, one) => (one.error > worst.error ? one : worst), { error: 0, reason: '' });
}
