import type { Sent } from './reader.js';

export interface Row {
  what: string;
  requests: number;
  shapes: number;
  p50Ms: number;
  p99Ms: number;
  ready: number;
  padded: number;
  cold: number;
  /** Requests per run of the model; null where it was not asked for. */
  perRun: number | null;
}

export function rowOf(what: string, sent: readonly Sent[], perRun: number | null): Row {
  const served = (lane: string): number => sent.filter((one) => one.lane === lane).length;
  return {
    what,
    requests: sent.length,
    shapes: new Set(sent.map(({ shape }) => shape)).size,
    p50Ms: percentile(
      sent.map(({ ms }) => ms),
      50,
    ),
    p99Ms: percentile(
      sent.map(({ ms }) => ms),
      99,
    ),
    ready: served('ready'),
    padded: served('padded'),
    cold: served('cold'),
    perRun,
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
  { title: 'ready', text: (row) => String(row.ready) },
  { title: 'padded', text: (row) => String(row.padded) },
  { title: 'cold', text: (row) => String(row.cold) },
  { title: 'per run', text: (row) => row.perRun?.toFixed(2) ?? '' },
];

/** The rows as a Markdown table. */
export function printTable(rows: readonly Row[]): string {
  const lines = [
    COLUMNS.map(({ title }) => title),
    COLUMNS.map(({ title }) => '-'.repeat(title.length)),
    ...rows.map((row) => COLUMNS.map(({ text }) => text(row))),
  ];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
