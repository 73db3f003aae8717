import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import type { Act, StormPlan } from '../chaos/faults.fixture.js';
import type { Role } from '../chaos/warmlane-system.fixture.js';
import { WeatherStation } from '../chaos/weather.fixture.js';
import { SeededRandom, testSeed } from '../support/seeded-random.js';

const SEED = testSeed();
const MINUTE = 60_000;
const MINUTES = soakMinutes();
/** The last storm begins before the end, and takes its time; so do start, census and stop. */
const MARGIN_MS = 15 * MINUTE;

vi.setConfig({ testTimeout: MINUTES * MINUTE + MARGIN_MS, hookTimeout: 5 * MINUTE });

const TARGETS: Role[] = ['runtime', 'reference', 'fallback', 'worker', 'api', 'redis'];
const ACTS: Act[] = ['kill', 'freeze', 'term'];
const FAULTS_OF_A_STORM = 6;
/** Errors with which a request may end while everything dies in turn. */
const PASSING = new Set(['redis-away', 'not-ready', 'worker-gone', 'broken']);
/** `serve` lives through all of it; so much it may grow by after the first storm. */
const SERVE_GROWTH_MIB = 64;

const random = new SeededRandom(SEED);
const say = (text: string): boolean => process.stderr.write(`soak, seed ${SEED}: ${text}\n`);
let station: WeatherStation | null = null;

beforeAll(async () => {
  station = await WeatherStation.start({ workers: 2 }, say);
});
afterAll(async () => {
  await station?.[Symbol.asyncDispose]();
});

it(`loses nothing, repeats nothing and keeps nothing in ${MINUTES} minutes of storms`, async () => {
  if (station === null) throw new Error('no system');
  const { system } = station;
  const endAt = performance.now() + MINUTES * MINUTE;
  let storms = 0;
  let requests = 0;
  let firstMib = 0;
  do {
    const { ledger, warmups } = await station.pass(stormPlan(), random.fork());
    storms += 1;
    requests += ledger.entries.length;
    expect(ledger.offences(PASSING)).toEqual([]);
    expect(warmups.problems).toEqual([]);
    await station.quiet();
    const mib = await residentMib(system.pid);
    if (storms === 1) firstMib = mib;
    say(`storm ${storms}, ${requests} requests, serve has ${mib} MiB`);
    expect(mib).toBeLessThan(firstMib + SERVE_GROWTH_MIB);
  } while (performance.now() < endAt);
  const startedAt = performance.now();
  expect(await system.end('SIGTERM')).toBe(0);
  expect(performance.now() - startedAt).toBeLessThan(20_000);
  expect(await system.remains()).toEqual([]);
});

/** Another order each time: what dies while something else is not back yet differs. */
function stormPlan(): StormPlan {
  const targets = Array.from({ length: FAULTS_OF_A_STORM }, () => random.pick(TARGETS));
  return { targets, acts: ACTS, faults: FAULTS_OF_A_STORM, pauseMs: [50, 3_000], frozenMs: [200, 6_000] };
}

async function residentMib(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) / 1_024);
}

function soakMinutes(): number {
  const minutes = Number(process.env.WARMLANE_SOAK ?? '30');
  if (!(minutes > 0)) throw new Error(`WARMLANE_SOAK '${process.env.WARMLANE_SOAK}' is not a number of minutes`);
  return minutes;
}
