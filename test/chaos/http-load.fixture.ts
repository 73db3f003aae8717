import { setTimeout as pause } from 'node:timers/promises';
import { type DType, datatypeOf, dtypeOf, type NamedTensor } from '@warmlane/contracts';
import { type RawAnswer, send, takeApart, tritonRequest } from '../e2e/protocol-client.fixture.js';
import type { SeededRandom } from '../support/seeded-random.js';
import { drawInputs, TRAFFIC, type TrafficShape } from './catalogue.fixture.js';
import type { Ledger, Outcome, Way } from './ledger.fixture.js';
import type { Oracle } from './oracle.fixture.js';

/** Longer than any fault: whoever is not answered by then was lost. */
export const DEADLINE_MS = 60_000;
/** Over the deadline, for the way back on a busy machine. */
export const LATE_MS = 10_000;
/** Before the next try where nobody listens or the fault is said to pass; a client would do the same. */
const RETRY_MS = 100;
const POLL_MS = 100;
/** Between a client's requests: the storms are to find what dies, not how much two cores can do. */
const THINK_MS = 40;
/** Elements of all inputs of a request that is sent as JSON. */
const JSON_VALUES_MOST = 20_000;

/** Errors after which the same request may be sent again. */
const PASSING_CODES = new Set(['redis-away', 'not-ready', 'worker-gone', 'overloaded']);

export interface LoadDeps {
  url: string;
  oracle: Oracle;
  ledger: Ledger;
  /** Ends the loops, each after the request it is at. */
  stop: AbortSignal;
}

export interface Judged {
  outcome: Outcome;
  detail: string;
  lane: string;
}

export const failed = (outcome: Outcome, detail = ''): Judged => ({ outcome, detail, lane: '' });

/** Synchronous binary inferences, one after the other, until stopped. */
export function syncLoop(deps: LoadDeps, random: SeededRandom): Promise<void> {
  return loop('http', deps, random, (shape, inputs) => once(deps, shape, inputs, {}));
}

/** Synchronous inferences as JSON, of shapes that a client would send so. */
export function jsonLoop(deps: LoadDeps, random: SeededRandom): Promise<void> {
  const small = TRAFFIC.filter((shape) => sizeOf(shape) <= JSON_VALUES_MOST);
  return loop(
    'json',
    deps,
    random,
    async (shape, inputs) => {
      const answer = await post(deps, `/v2/models/${shape.model}/infer`, jsonRequest(inputs), {});
      return 'outcome' in answer ? answer : await judge(deps, shape, inputs, answer);
    },
    small,
  );
}

/**
 * With an idempotency key: sent again, after a broken connection or an error that may pass, until it is answered; and once
 * more after that, for the same answer must come again.
 */
export function idempotentLoop(deps: LoadDeps, random: SeededRandom): Promise<void> {
  return loop('idempotent', deps, random, async (shape, inputs) => {
    const headers = { 'idempotency-key': random.bytes(16).toString('hex') };
    const path = `/v2/models/${shape.model}/infer`;
    const until = performance.now() + DEADLINE_MS;
    const ask = async (): Promise<{ judged: Judged; answer: RawAnswer | null }> => {
      for (;;) {
        const answer = await post(deps, path, binaryRequest(inputs), headers);
        const judged = 'outcome' in answer ? answer : await judge(deps, shape, inputs, answer);
        const passing = ['broken', 'refused'].includes(judged.outcome) || PASSING_CODES.has(judged.detail);
        if (!passing || performance.now() > until) return { judged, answer: 'outcome' in answer ? null : answer };
        await pause(RETRY_MS);
      }
    };
    const first = await ask();
    if (first.judged.outcome !== 'right') return first.judged;
    const again = await ask();
    if (again.judged.outcome !== 'right') return again.judged;
    // Two answers under one key were two runs: on the same bits only where chance wants it.
    const same = first.answer !== null && again.answer !== null && sameAnswer(first.answer, again.answer);
    return same ? first.judged : failed('wrong', 'another answer came under the same idempotency-key');
  });
}

/** With a deadline that faults and load may pass: then it says so, and not much later. */
export function hastyLoop(deps: LoadDeps, random: SeededRandom): Promise<void> {
  return loop('hasty', deps, random, async (shape, inputs) => {
    const deadlineMs = Math.round(random.between(50, 1_500));
    const judged = await once(deps, shape, inputs, { 'warmlane-deadline-ms': deadlineMs });
    return judged.detail === 'deadline-exceeded' ? failed('expired') : judged;
  });
}

/** Clients that leave before they are answered: nothing may be left of their requests. */
export function leavingLoop(deps: LoadDeps, random: SeededRandom): Promise<void> {
  return loop('leaving', deps, random, async (shape, inputs) => {
    const { headers, body } = binaryRequest(inputs);
    const signal = AbortSignal.timeout(Math.ceil(random.between(1, 120)));
    try {
      const path = `${deps.url}/v2/models/${shape.model}/infer`;
      const answer = await fetch(path, { method: 'POST', headers, body: Uint8Array.from(body), signal });
      await answer.arrayBuffer();
    } catch {
      // It left, or somebody died.
    }
    return failed('left');
  });
}

/** Asynchronous inferences: accepted with 202, then asked for until they end. */
export function asyncLoop(deps: LoadDeps, random: SeededRandom): Promise<void> {
  return loop('async', deps, random, async (shape, inputs) => {
    const accepted = await accept(deps, shape, inputs);
    return 'outcome' in accepted ? accepted : await untilEnded(deps, accepted.id, shape, inputs);
  });
}

/** Sends an asynchronous inference. Its id, or why it was not accepted. */
export async function accept(
  deps: Pick<LoadDeps, 'url'>,
  shape: TrafficShape,
  inputs: readonly NamedTensor[],
): Promise<{ id: string } | Judged> {
  const answer = await post(deps, `/v1/models/${shape.model}/versions/1/infer`, binaryRequest(inputs), {});
  if ('outcome' in answer) return answer;
  if (answer.status !== 202) return failed('error', codeOf(answer));
  const { id } = JSON.parse(answer.body.toString('utf8')) as { id: string };
  return { id };
}

async function loop(
  way: Way,
  { ledger, stop }: LoadDeps,
  random: SeededRandom,
  request: (shape: TrafficShape, inputs: NamedTensor[]) => Promise<Judged>,
  shapes: readonly TrafficShape[] = TRAFFIC,
): Promise<void> {
  while (!stop.aborted) {
    const shape = random.pick(shapes);
    const startedAt = performance.now();
    const judged = await request(shape, drawInputs(shape, random));
    const tookMs = performance.now() - startedAt;
    const late = judged.outcome !== 'lost' && tookMs > DEADLINE_MS + LATE_MS;
    ledger.add({ way, model: shape.model, startedAt, tookMs, ...(late ? failed('lost', 'late') : judged) });
    await pause(judged.outcome === 'right' ? THINK_MS : RETRY_MS);
  }
}

type Headers = Readonly<Record<string, string | number>>;

async function once(
  deps: LoadDeps,
  shape: TrafficShape,
  inputs: readonly NamedTensor[],
  headers: Headers,
): Promise<Judged> {
  const answer = await post(deps, `/v2/models/${shape.model}/infer`, binaryRequest(inputs), headers);
  return 'outcome' in answer ? answer : await judge(deps, shape, inputs, answer);
}

interface Request {
  headers: Record<string, string>;
  body: Uint8Array;
}

function jsonRequest(inputs: readonly NamedTensor[]): Request {
  const tensors = inputs.map(({ name, dtype, dims, data }) => {
    const values = dtype === 'int32' ? new Int32Array(data.slice().buffer) : new Float32Array(data.slice().buffer);
    return { name, datatype: datatypeOf(dtype), shape: dims, data: [...values] };
  });
  return { headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify({ inputs: tensors })) };
}

function sizeOf({ inputs }: TrafficShape): number {
  return inputs.reduce((sum, { dims }) => sum + dims.reduce((product, dim) => product * dim, 1), 0);
}

/** The same lane class and the same bits; the head also has the time that this very request took. */
function sameAnswer(a: RawAnswer, b: RawAnswer): boolean {
  const [one, other] = [takeApart(a), takeApart(b)];
  return (
    a.headers['warmlane-lane'] === b.headers['warmlane-lane'] &&
    [...one.outputs].every(([name, data]) => Buffer.compare(data, other.outputs.get(name) ?? new Uint8Array(0)) === 0)
  );
}

function binaryRequest(inputs: readonly NamedTensor[]): Request {
  const { headers, body } = tritonRequest(
    inputs.map(({ name, dtype, dims, data }) => ({ name, datatype: datatypeOf(dtype), shape: dims, data })),
  );
  const texts = Object.entries(headers ?? {}).map(([name, value]) => [name, String(value)] as const);
  return { headers: Object.fromEntries(texts), body: Buffer.from(body ?? '') };
}

async function post(
  { url }: Pick<LoadDeps, 'url'>,
  path: string,
  { headers, body }: Request,
  more: Headers,
): Promise<RawAnswer | Judged> {
  const all = { 'warmlane-deadline-ms': DEADLINE_MS, ...headers, ...more };
  try {
    return await send(`${url}${path}`, { method: 'POST', headers: all, body });
  } catch (error) {
    return failed(isRefused(error) ? 'refused' : 'broken', String(error));
  }
}

/** Asks for an accepted inference until it has ended. */
export async function untilEnded(
  deps: Pick<LoadDeps, 'url' | 'oracle'>,
  id: string,
  shape: TrafficShape,
  inputs: readonly NamedTensor[],
): Promise<Judged> {
  const until = performance.now() + DEADLINE_MS + LATE_MS;
  let last = 'nobody answered';
  while (performance.now() < until) {
    const answer = await send(`${deps.url}/v1/inferences/${id}`).catch((error: unknown) => {
      last = String(error);
      return null;
    });
    if (answer?.status === 200) return await judge(deps, shape, inputs, answer);
    const code = answer === null || answer.status === 202 ? '' : codeOf(answer);
    // What the API says of itself, not of the inference.
    if (code === 'not-found') return failed('lost', `${id} is unknown`);
    if (code !== '' && code !== 'redis-away') return failed('error', code);
    if (answer !== null) last = code === '' ? 'it ran' : code;
    await pause(POLL_MS);
  }
  return failed('lost', `${id}: ${last} until the deadline`);
}

async function judge(
  { oracle }: Pick<LoadDeps, 'oracle'>,
  { model }: TrafficShape,
  inputs: readonly NamedTensor[],
  answer: RawAnswer,
): Promise<Judged> {
  if (answer.status !== 200) return failed('error', codeOf(answer));
  try {
    const { head, outputs } = takeApart(answer);
    const got = head.outputs.map(({ name, datatype, shape, data }) => {
      const dtype = dtypeOf(datatype) ?? 'string';
      return { name, dtype, dims: shape, data: outputs.get(name) ?? bytesOf(dtype, data ?? []) };
    });
    const problem = await oracle.judge(model, inputs, got);
    if (problem !== null) return failed('wrong', problem);
  } catch (error) {
    return failed('wrong', String(error));
  }
  return { outcome: 'right', detail: '', lane: String(answer.headers['warmlane-lane']) };
}

/** The bytes of values that came as JSON. */
function bytesOf(dtype: DType, values: readonly unknown[]): Uint8Array {
  const numbers = values.map(Number);
  return new Uint8Array((dtype === 'int32' ? Int32Array.from(numbers) : Float32Array.from(numbers)).buffer);
}

/** The code in the header, or in the body of an error outside the protocol; else the status and the text. */
function codeOf({ status, headers, body }: RawAnswer): string {
  const named = headers['warmlane-error'];
  if (typeof named === 'string') return named;
  const text = body.toString('utf8', 0, 300);
  try {
    const { error } = JSON.parse(text) as { error?: { code?: unknown } };
    if (typeof error?.code === 'string') return error.code;
  } catch {
    // Not of the contract's form: shown as it is.
  }
  return `status ${status}: ${text}`;
}

function isRefused(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED';
}
