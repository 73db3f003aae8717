import type { LaneDoc } from '@warmlane/contracts';
import Table from 'cli-table3';
import type { DemoShape } from './demo-plan.js';

/** What `demo --json FILE` writes. Times in ms. */
export interface DemoResult {
  ok: boolean;
  provider: 'cpu' | 'cuda';
  providerReason: string;
  lanes: DemoLane[];
  requests: { total: number; ready: number; padded: number; cold: number; wrong: number };
}

interface DemoLane {
  model: string;
  shapeKey: string;
  state: string;
  /** First run of the shape on the lane's session. */
  firstMs: number | null;
  /** The same shape on one plain session that serves all shapes of the model in turn. */
  plainRevisitMs: number | null;
  p50Ms: number | null;
  p99Ms: number | null;
  /** Worst of the lane's record and of every answer that was checked; null when there was no answer. */
  relativeError: number | null;
  /** How its requests were served: `ready 27`, `cold 3`. */
  servedBy: string;
}

/** How one request went. */
export interface Served {
  shape: number;
  /** `ready`, `padded`, `cold`, or empty when there was no answer. */
  lane: string;
  /** Worst relative error against the reference; Infinity when the answer differs in kind or there was none. */
  error: number;
  wrong: boolean;
}

export interface DemoFacts {
  provider: 'cpu' | 'cuda';
  providerReason: string;
  shapes: readonly DemoShape[];
  lanes: readonly LaneDoc[];
  /** By shape. */
  plainRevisitMs: readonly number[];
  served: readonly Served[];
}

/** Ok only if every named shape has a READY lane and no answer was wrong or missing. */
export function summarize(facts: DemoFacts): DemoResult {
  const lanes = facts.shapes.flatMap((shape, at) => (shape.named ? [laneOf(facts, shape, at)] : []));
  const count = (lane: string): number => facts.served.filter((served) => served.lane === lane).length;
  const wrong = facts.served.filter((served) => served.wrong).length;
  return {
    ok: wrong === 0 && facts.served.length > 0 && lanes.every((lane) => lane.state === 'READY'),
    provider: facts.provider,
    providerReason: facts.providerReason,
    lanes,
    requests: {
      total: facts.served.length,
      ready: count('ready'),
      padded: count('padded'),
      cold: count('cold'),
      wrong,
    },
  };
}

function laneOf(facts: DemoFacts, shape: DemoShape, at: number): DemoLane {
  const doc = facts.lanes.find((lane) => lane.model === shape.model && lane.shapeKey === shape.shapeKey);
  const record = doc?.record ?? null;
  const errors = facts.served.filter((served) => served.shape === at).map((served) => served.error);
  const worst = Math.max(record?.relativeError ?? 0, ...errors);
  return {
    model: shape.model,
    shapeKey: shape.shapeKey,
    state: doc?.state ?? 'none',
    firstMs: record?.firstMs ?? null,
    plainRevisitMs: facts.plainRevisitMs[at] ?? null,
    p50Ms: record?.steadyP50Ms ?? null,
    p99Ms: record?.steadyP99Ms ?? null,
    relativeError: errors.length === 0 && record === null ? null : worst,
    servedBy: servedBy(facts.served, at),
  };
}

function servedBy(served: readonly Served[], shape: number): string {
  const counts = new Map<string, number>();
  for (const { lane } of served.filter((one) => one.shape === shape)) {
    const name = lane === '' ? 'no answer' : lane;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].map(([name, times]) => `${name} ${times}`).join(', ') || 'nobody';
}

/** The table for a person, with the shapes that nobody named at the end, and what warm-up gained here. */
export function printResult(result: DemoResult, facts: DemoFacts): string {
  const table = new Table({
    head: ['model', 'shape', 'first run', 'plain, in turn', 'lane p50', 'lane p99', 'error', 'state', 'served by'],
    colAligns: ['left', 'left', 'right', 'right', 'right', 'right', 'right', 'left', 'left'],
    style: { head: [], border: [] },
  });
  for (const lane of result.lanes) {
    const times = [lane.firstMs, lane.plainRevisitMs, lane.p50Ms, lane.p99Ms].map(printMs);
    table.push([lane.model, short(lane.shapeKey), ...times, printError(lane.relativeError), lane.state, lane.servedBy]);
  }
  for (const [at, shape] of facts.shapes.entries()) {
    if (!shape.named) {
      const errors = facts.served.filter((served) => served.shape === at).map((served) => served.error);
      const error = printError(errors.length === 0 ? null : Math.max(...errors));
      const plain = printMs(facts.plainRevisitMs[at] ?? null);
      const by = servedBy(facts.served, at);
      table.push([shape.model, short(shape.shapeKey), '', plain, '', '', error, 'not named', by]);
    }
  }
  const { total, ready, padded, cold, wrong } = result.requests;
  return [
    table.toString(),
    'Times in ms of computing alone. "plain, in turn": one session that serves all shapes of its model one after another.',
    `${total} requests: ${ready} ready, ${padded} padded, ${cold} cold, ${wrong} wrong.`,
    `Provider: ${result.providerReason}.`,
    verdict(result),
    '',
  ].join('\n');
}

/** What warm-up is worth here, in figures of this run; on the CPU that is little, and it says so. */
export function verdict(result: DemoResult): string {
  const sum = (pick: (lane: DemoLane) => number | null): number =>
    result.lanes.reduce((total, lane) => total + (pick(lane) ?? 0), 0);
  const first = sum((lane) => lane.firstMs);
  const plain = sum((lane) => lane.plainRevisitMs);
  const steady = sum((lane) => lane.p50Ms);
  const once = `the first run of all ${result.lanes.length} shapes took ${printMs(first)} ms, warm they take ${printMs(steady)} ms`;
  if (result.provider === 'cpu') {
    return (
      `On the CPU warm-up saves the first run only: ${once}. A plain session does not forget shapes here ` +
      `(${printMs(plain)} ms in turn). What lasts is gained on CUDA.`
    );
  }
  return `Warm-up: ${once}; one plain session that serves them in turn takes ${printMs(plain)} ms every time.`;
}

function short(shapeKey: string): string {
  return shapeKey.replace(/^x:float32/, '');
}

function printMs(ms: number | null): string {
  if (ms === null) {
    return '-';
  }
  return ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms.toFixed(2);
}

function printError(error: number | null): string {
  if (error === null) {
    return '-';
  }
  return Number.isFinite(error) ? error.toExponential(1) : 'differs';
}
