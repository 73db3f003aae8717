import { setTimeout as pause } from 'node:timers/promises';
import { json, send } from '../e2e/protocol-client.fixture.js';
import type { SeededRandom } from '../support/seeded-random.js';
import type { BareClient } from './queue-load.fixture.js';

/** Lanes wait for each other while everything dies and a machine of two cores serves meanwhile. */
const DEADLINE_MS = 120_000;
/** The coordinator ends what is over within this, also after an outage. */
const LATE_MS = 20_000;
const POLL_MS = 200;

interface WarmupView {
  id: string;
  state: string;
  total: number;
  ready: number;
  failed: number;
  lanes: { shapeKey: string; state: string; reason: string }[];
}

/** What became of the warm-ups. */
export interface WarmupLog {
  /** Warm-ups by their final state. */
  ended: Record<string, number>;
  problems: string[];
}

/** Warms shapes that the plan does not have, follows each to its end, and takes its shape out of the plan again. */
export async function warmupLoop(url: string, stop: AbortSignal, random: SeededRandom, log: WarmupLog): Promise<void> {
  while (!stop.aborted) {
    const shapeKey = `x:float32[1,3,${8 + random.below(4)},8]`;
    const body = JSON.stringify({ shapes: [shapeKey], deadlineMs: DEADLINE_MS });
    const accepted = await until202(`${url}/v1/models/conv/versions/1/warmups`, body, stop, log);
    if (accepted === null) return;
    const view = await followWarmup(url, accepted);
    log.ended[view.state] = (log.ended[view.state] ?? 0) + 1;
    if (view.state === 'ready') {
      if (view.ready !== 1 || view.total !== 1) log.problems.push(`ready with ${JSON.stringify(view)}`);
    } else log.problems.push(`${accepted} ended ${view.state}: ${JSON.stringify(view)}`);
    await unplan(url, shapeKey);
  }
}

/** Sends a warm-up of model `conv` that must be accepted. Its id. */
export async function acceptWarmup(url: string, shapeKey: string, deadlineMs: number): Promise<string> {
  const body = JSON.stringify({ shapes: [shapeKey], deadlineMs });
  const headers = { 'content-type': 'application/json' };
  const answer = await send(`${url}/v1/models/conv/versions/1/warmups`, { method: 'POST', headers, body });
  if (answer.status !== 202) throw new Error(`not accepted: ${answer.status} ${answer.body.toString('utf8')}`);
  return json<{ id: string }>(answer).id;
}

/** A warm-up's last view. */
export function followWarmup(url: string, id: string): Promise<WarmupView> {
  return untilEnded(`${url}/v1/warmups/${id}`);
}

/** The same through the entry queue, with shapes of its own. */
export async function entryWarmupLoop(
  url: string,
  client: BareClient,
  stop: AbortSignal,
  random: SeededRandom,
  log: WarmupLog,
): Promise<void> {
  while (!stop.aborted) {
    const shapeKey = `x:float32[1,3,${16 + random.below(4)},8]`;
    const job = await client.warm('conv', shapeKey, DEADLINE_MS);
    const end = await client.warmed(job, DEADLINE_MS + LATE_MS);
    const view = end.state === 'completed' ? (end.value as WarmupView) : null;
    const state = view?.state ?? end.state;
    log.ended[`queued ${state}`] = (log.ended[`queued ${state}`] ?? 0) + 1;
    if (view?.state !== 'ready' || view.ready !== 1 || view.total !== 1) {
      log.problems.push(`job ${job} of warmup ended ${JSON.stringify(end)}`);
    }
    await unplan(url, shapeKey);
  }
}

/** Away or broken: the next warm-up of the shape finds it in the plan, which is no harm. */
async function unplan(url: string, shapeKey: string): Promise<void> {
  const path = `${url}/v1/models/conv/versions/1/plan/${encodeURIComponent(shapeKey)}`;
  await send(path, { method: 'DELETE' }).catch(() => null);
}

/** The id; null where it was stopped first. A broken connection is tried again: the same request has the same id. */
async function until202(url: string, body: string, stop: AbortSignal, log: WarmupLog): Promise<string | null> {
  const headers = { 'content-type': 'application/json' };
  while (!stop.aborted) {
    const answer = await send(url, { method: 'POST', headers, body }).catch(() => null);
    if (answer?.status === 202) return json<{ id: string }>(answer).id;
    if (answer !== null && answer.status !== 503) log.problems.push(`${answer.status} ${answer.body.toString('utf8')}`);
    await pause(POLL_MS);
  }
  return null;
}

async function untilEnded(url: string): Promise<WarmupView> {
  const until = performance.now() + DEADLINE_MS + LATE_MS;
  let last = 'nobody answered';
  let view: WarmupView = { id: url, state: 'lost', total: 0, ready: 0, failed: 0, lanes: [] };
  while (performance.now() < until) {
    const answer = await send(url).catch((error: unknown) => {
      last = String(error);
      return null;
    });
    if (answer?.status === 200) {
      view = json<WarmupView>(answer) as WarmupView;
      if (view.state !== 'queued' && view.state !== 'running') return view;
      last = answer.body.toString('utf8');
    } else if (answer !== null) {
      last = `${answer.status} ${answer.body.toString('utf8')}`;
      if (answer.status === 404) break;
    }
    await pause(POLL_MS);
  }
  return { ...view, state: `lost (${last})` };
}
