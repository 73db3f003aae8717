import type { Sent } from './reader.js';

export interface Row {
  what: string;
  requests: number;
  shapes: number;
  p50Ms: number;
  p99Ms: number;
  /** Median of the model's own runs, ms; null for what is more than one request. */
  computeP50Ms: number | null;
  ready: number;
  padded: number;
  cold: number;
  /** Requests per run of the model; null where it was not asked for. */
  perRun: number | null;
}

export function rowOf(what: string, sent: readonly Sent[], perRun: number | null): Row {
  const served = (lane: string): number => sent.filter((one) => one.lane === lane).length;
  return {
    ...timesOf(
      what,
      sent.map(({ ms }) => ms),
    ),
    shapes: new Set(sent.map(({ shape }) => shape)).size,
    computeP50Ms: percentile(
      sent.map(({ computeMs }) => computeMs),
      50,
    ),
    ready: served('ready'),
    padded: served('padded'),
    cold: served('cold'),
    perRun,
  };
}

/** Of what is no single request: times alone. */
export function timesOf(what: string, ms: readonly number[]): Row {
  return {
    what,
    requests: ms.length,
    shapes: 0,
    p50Ms: percentile(ms, 50),
    p99Ms: percentile(ms, 99),
    computeP50Ms: null,
    ready: 0,
    padded: 0,
    cold: 0,
    perRun: null,
  };
}

function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const value = sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))] ?? 0;
  return Math.round(value * 100) / 100;
}

const COLUMNS: { title: string; text: (row: Row) => string }[] = [
  { title: 'what', text: (row) => row.what },
  { title: 'requests', text: (row) => String(row.requests) },
  { title: 'shapes', text: (row) => (row.shapes === 0 ? '' : String(row.shapes)) },
  { title: 'p50 ms', text: (row) => row.p50Ms.toFixed(1) },
  { title: 'p99 ms', text: (row) => row.p99Ms.toFixed(1) },
  { title: 'compute p50', text: (row) => row.computeP50Ms?.toFixed(2) ?? '' },
  { title: 'ready', text: (row) => served(row, row.ready) },
  { title: 'padded', text: (row) => served(row, row.padded) },
  { title: 'cold', text: (row) => served(row, row.cold) },
  { title: 'per run', text: (row) => row.perRun?.toFixed(2) ?? '' },
];

function served(row: Row, count: number): string {
  return row.shapes === 0 ? '' : String(count);
}

/** The rows as a Markdown table. */
export function printTable(rows: readonly Row[]): string {
  const lines = [
    COLUMNS.map(({ title }) => title),
    COLUMNS.map(({ title }) => '-'.repeat(title.length)),
    ...rows.map((row) => COLUMNS.map(({ text }) => text(row))),
  ];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
