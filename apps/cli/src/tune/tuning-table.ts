import type { TuningCandidate, TuningView } from '@warmlane/contracts';
import Table from 'cli-table3';

const MIB = 2 ** 20;
const REASON_CHARACTERS = 60;

/** One table per shape: every candidate by latency, what came to nothing last, and what the lane has. */
export function printTunings(tunings: readonly TuningView[]): string {
  if (tunings.length === 0) {
    return 'No shape was tuned yet. Write `tune: true` into a warmlane.yaml, or `warmlane tune --model NAME --run`.\n';
  }
  return tunings.map(printTuning).join('\n');
}

function printTuning({ model, version, shapeKey, device, environment, state, chosen, candidates }: TuningView): string {
  const table = new Table({
    head: ['candidate', 'outcome', 'p50 ms', 'p99 ms', 'error', 'MiB', 'reason'],
    colAligns: ['left', 'left', 'right', 'right', 'right', 'right', 'left'],
    style: { head: [], border: [] },
  });
  for (const candidate of [...candidates].sort(byLatency)) {
    const { name, p50Ms, p99Ms, relativeError, memoryBytes, reason } = candidate;
    table.push([
      name,
      outcomeOf(candidate),
      printMs(p50Ms),
      printMs(p99Ms),
      relativeError === null ? '-' : relativeError.toExponential(1),
      memoryBytes === null ? '-' : (memoryBytes / MIB).toFixed(1),
      reason.length > REASON_CHARACTERS ? `${reason.slice(0, REASON_CHARACTERS - 1)}…` : reason,
    ]);
  }
  const title = `${model}/${version} ${shapeKey} on ${device} (${environment.slice(0, 12)})`;
  return `${title}\n${table.toString()}\n${verdictOf(state, chosen, candidates)}\n`;
}

function byLatency(a: TuningCandidate, b: TuningCandidate): number {
  return (a.p50Ms ?? Number.POSITIVE_INFINITY) - (b.p50Ms ?? Number.POSITIVE_INFINITY) || (a.name < b.name ? -1 : 1);
}

function outcomeOf({ outcome, signal }: TuningCandidate): string {
  return signal === null ? outcome : `${outcome} (${signal})`;
}

function verdictOf(state: TuningView['state'], chosen: string | null, candidates: readonly TuningCandidate[]): string {
  if (state === 'searching') return `searching, ${candidates.length} candidates tried so far`;
  const winner = candidates.find(({ name }) => name === chosen);
  if (winner === undefined) return 'no candidate is right: the given options stay';
  const options = Object.entries(winner.options).map(([key, value]) => `${key}: ${value}`);
  return `chosen: ${winner.name} { ${options.join(', ')} }`;
}

function printMs(ms: number | null): string {
  if (ms === null) return '-';
  return ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms.toFixed(3);
}
