import { setTimeout as pause } from 'node:timers/promises';
import { datatypeOf, dtypeOf, type NamedTensor } from '@warmlane/contracts';
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

/** With an idempotency key: sent again, after a broken connection or an error that may pass, until it is answered. */
export function idempotentLoop(deps: LoadDeps, random: SeededRandom): Promise<void> {
  return loop('idempotent', deps, random, async (shape, inputs) => {
    const headers = { 'idempotency-key': random.bytes(16).toString('hex') };
    const until = performance.now() + DEADLINE_MS;
    for (;;) {
      const judged = await once(deps, shape, inputs, headers);
      const passing = ['broken', 'refused'].includes(judged.outcome) || PASSING_CODES.has(judged.detail);
      if (!passing || performance.now() > until) return judged;
      await pause(RETRY_MS);
    }
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
    const answer = await post(deps, `/v1/models/${shape.model}/versions/1/infer`, inputs, {});
    if ('outcome' in answer) return answer;
    if (answer.status !== 202) return failed('error', codeOf(answer));
    const { id } = JSON.parse(answer.body.toString('utf8')) as { id: string };
    return await untilEnded(deps, id, shape, inputs);
  });
}

async function loop(
  way: Way,
  { ledger, stop }: LoadDeps,
  random: SeededRandom,
  request: (shape: TrafficShape, inputs: NamedTensor[]) => Promise<Judged>,
): Promise<void> {
  while (!stop.aborted) {
    const shape = random.pick(TRAFFIC);
    const startedAt = performance.now();
    const judged = await request(shape, drawInputs(shape, random));
    const tookMs = performance.now() - startedAt;
    const late = judged.outcome !== 'lost' && tookMs > DEADLINE_MS + LATE_MS;
    ledger.add({ way, model: shape.model, startedAt, tookMs, ...(late ? failed('lost', 'late') : judged) });
    if (judged.outcome !== 'right') await pause(RETRY_MS);
  }
}

type Headers = Readonly<Record<string, string | number>>;

async function once(
  deps: LoadDeps,
  shape: TrafficShape,
  inputs: readonly NamedTensor[],
  headers: Headers,
): Promise<Judged> {
  const answer = await post(deps, `/v2/models/${shape.model}/infer`, inputs, headers);
  return 'outcome' in answer ? answer : await judge(deps, shape, inputs, answer);
}

function binaryRequest(inputs: readonly NamedTensor[]): { headers: Record<string, string>; body: Uint8Array } {
  const { headers, body } = tritonRequest(
    inputs.map(({ name, dtype, dims, data }) => ({ name, datatype: datatypeOf(dtype), shape: dims, data })),
  );
  const texts = Object.entries(headers ?? {}).map(([name, value]) => [name, String(value)] as const);
  return { headers: Object.fromEntries(texts), body: Buffer.from(body ?? '') };
}

async function post(
  { url }: LoadDeps,
  path: string,
  inputs: readonly NamedTensor[],
  more: Headers,
): Promise<RawAnswer | Judged> {
  const { headers, body } = binaryRequest(inputs);
  const all = { 'warmlane-deadline-ms': DEADLINE_MS, ...headers, ...more };
  try {
    return await send(`${url}${path}`, { method: 'POST', headers: all, body });
  } catch (error) {
    return failed(isRefused(error) ? 'refused' : 'broken', String(error));
  }
}

async function untilEnded(
  deps: LoadDeps,
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
  { oracle }: LoadDeps,
  { model }: TrafficShape,
  inputs: readonly NamedTensor[],
  answer: RawAnswer,
): Promise<Judged> {
  if (answer.status !== 200) return failed('error', codeOf(answer));
  try {
    const { head, outputs } = takeApart(answer);
    const got = head.outputs.map(({ name, datatype, shape }) => ({
      name,
      dtype: dtypeOf(datatype) ?? 'string',
      dims: shape,
      data: outputs.get(name) ?? new Uint8Array(0),
    }));
    const problem = await oracle.judge(model, inputs, got);
    if (problem !== null) return failed('wrong', problem);
  } catch (error) {
    return failed('wrong', String(error));
  }
  return { outcome: 'right', detail: '', lane: String(answer.headers['warmlane-lane']) };
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
