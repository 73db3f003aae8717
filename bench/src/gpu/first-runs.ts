import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { median, type Row, round } from '../support/result.js';
import type { FirstRuns } from './first-runs-lanes.js';

const PROGRAM = fileURLToPath(new URL('./first-runs-lanes.js', import.meta.url));
const SIDE_BY_SIDE = [1, 2, 4, 8];
const ROUNDS = 3;
const LIMIT_MS = 120_000;

/** What bounds `warm16`: creation and first run of its lanes, so many at a time, each time in a new process. */
export async function measureFirstRuns(): Promise<Row[]> {
  const found = new Map<number, FirstRuns[]>();
  for (let pass = 0; pass < ROUNDS; pass += 1) {
    for (const count of SIDE_BY_SIDE) found.set(count, [...(found.get(count) ?? []), await firstRuns(count)]);
  }
  return [...found].map(([sideBySide, runs]) => {
    const of = (field: 'wallSeconds' | 'cpuSeconds' | 'createSeconds' | 'firstSeconds') =>
      round(median(runs.map((run) => run[field])), 3);
    const lanes = Object.keys(runs[0]?.firstMs ?? {}).length;
    return {
      ...{ part: 'firstRuns', sideBySide, rounds: runs.length, lanes },
      ...{ wallSeconds: of('wallSeconds'), cpuSeconds: of('cpuSeconds') },
      ...{ createSeconds: of('createSeconds'), firstSeconds: of('firstSeconds') },
      compiledKernels: runs.some((run) => run.compiledKernels),
      longestFirstMs: Math.round(median(runs.map((run) => Math.max(...Object.values(run.firstMs))))),
    };
  });
}

async function firstRuns(sideBySide: number): Promise<FirstRuns> {
  const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM, String(sideBySide)], {
    env: { ...process.env, UV_THREADPOOL_SIZE: '16' },
    timeout: LIMIT_MS,
    maxBuffer: 2 ** 24,
  });
  return JSON.parse(stdout) as FirstRuns;
}
