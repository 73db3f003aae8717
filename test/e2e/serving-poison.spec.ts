import { setTimeout as delay } from 'node:timers/promises';
import type { NamedTensor, WarmlaneError } from '@warmlane/contracts';
import { bytesOf, divideModel, int64s, loopModel } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ServingSystem, type WorkerProcess } from '../support/serving-system.js';

const DIVIDE = {
  bytes: divideModel(),
  yaml: `shapes: ["a:int64[1,2];b:int64[1,2]"]
batch: { sizes: [4] }
inputs: { a: { random: [-100, 100] }, b: { random: [1, 9] } }
`,
};
const LOOP = { bytes: loopModel(), yaml: 'shapes: ["trips:int64[]"]\ninputs: { trips: { values: [2] } }\n' };

type Fraction = readonly [bigint, bigint];
/** Ends every process that computes it. */
const KILLER: Fraction = [-(2n ** 63n), -1n];
/** ONNX Runtime refuses to compute it. */
const BAD: Fraction = [5n, 0n];

const fractions = (of: readonly Fraction[]): NamedTensor[] => [
  int64s(
    'a',
    [of.length, 2],
    of.flatMap(([a]) => [a, a / 2n]),
  ),
  int64s(
    'b',
    [of.length, 2],
    of.flatMap(([, b]) => [b, b]),
  ),
];
const quotients = (of: readonly Fraction[]): bigint[] => of.flatMap(([a, b]) => [a / b, a / 2n / b]);

/** Requests of one item each. */
const singles = (from: bigint, count: number): Fraction[][] =>
  Array.from({ length: count }, (_, n) => [[from + BigInt(n), 3n]]);

function trips(count: number): NamedTensor[] {
  return [{ name: 'trips', dtype: 'int64', dims: [], data: bytesOf(BigInt64Array.of(BigInt(count))) }];
}

/** Process ids that a worker's children of a role had while it was looked at. */
class Seen {
  readonly pids = new Set<number>();
  readonly #done = new AbortController();
  readonly #looking: Promise<void>;

  constructor(worker: WorkerProcess, role: string) {
    this.#looking = (async () => {
      while (!this.#done.signal.aborted) {
        for (const pid of await worker.children(role)) this.pids.add(pid);
        await delay(20);
      }
    })();
  }

  async end(): Promise<number> {
    this.#done.abort();
    await this.#looking;
    return this.pids.size;
  }
}

// Elsewhere the killer has an answer.
describe.skipIf(process.arch !== 'x64')('items that share a run', () => {
  let system: ServingSystem;
  let worker: WorkerProcess;

  beforeAll(async () => {
    system = await ServingSystem.start({ divide: DIVIDE, loop: LOOP });
    worker = system.startWorker();
    await system.untilReady(2);
  });

  afterAll(async () => {
    await system[Symbol.asyncDispose]();
  });

  /** What each came to: its numbers, or the code and text of its error. */
  const outcomeOf = (of: readonly Fraction[]): Promise<bigint[] | string> =>
    system.infer('divide', fractions(of), { deadlineMs: 60_000 }).then(
      ({ outputs: [y] }) => Array.from(new BigInt64Array(Uint8Array.from(y?.data ?? []).buffer)),
      (error: WarmlaneError) => `${error.code}: ${error.message}`,
    );

  /**
   * Sends them in one burst while a run keeps the device. The first of a class is fetched alone, the more the longer the
   * others wait: those at the end of the burst share their runs.
   */
  const burst = async (requests: readonly (readonly Fraction[])[]): Promise<(bigint[] | string)[]> => {
    await system.untilReady(2);
    const busy = system.infer('loop', trips(1_000));
    const outcomes = await Promise.all(requests.map((request) => outcomeOf(request)));
    expect((await busy).lane).toBe('ready');
    return outcomes;
  };

  /** All are right but one, whose outcome is returned. */
  const allRightBut = (at: number, requests: readonly (readonly Fraction[])[], outcomes: (bigint[] | string)[]) => {
    const right = requests.map((request, n) => (n === at ? outcomes[n] : quotients(request)));
    expect(outcomes).toEqual(right);
    return outcomes[at];
  };

  it('calls the one item poison that ends the runtime, and answers those it shared the batch with', async () => {
    const trials = new Seen(worker, 'trial');
    const requests = [...singles(1n, 14), [KILLER], ...singles(30n, 3)];
    const outcomes = await burst(requests);
    expect(allRightBut(14, requests, outcomes)).toMatch(/^poison: this request ended a runtime 2 times/);
    // Two for the item itself; one and more for those that were in the batch with it.
    expect(await trials.end()).toBeGreaterThan(2);
    // What was found innocent is under no suspicion any more.
    expect(await system.redis.keys('{wl}:deaths:*')).toHaveLength(1);
  });

  it('calls a request poison that was cut and of which one piece ends the runtime', async () => {
    // Pieces of 4, 4 and 2: the last of them with items of others.
    const cut = [...Array.from({ length: 9 }, (): Fraction => [7n, 2n]), KILLER];
    const requests = [...singles(1n, 3), cut, ...singles(50n, 4), Array.from({ length: 6 }, (): Fraction => [9n, 4n])];
    const outcomes = await burst(requests);
    expect(allRightBut(3, requests, outcomes)).toMatch(/^poison: /);
    // Right as long as nothing kills.
    const harmless = cut.slice(0, 9);
    expect(await outcomeOf(harmless)).toEqual(quotients(harmless));
  });

  it('fails the one item alone that ONNX Runtime refuses, and no process ends', async () => {
    await system.untilReady(2);
    const runtime = await worker.children('runtime');
    const cut = [...Array.from({ length: 9 }, (): Fraction => [7n, 2n]), BAD];
    const requests = [...singles(1n, 14), [BAD], ...singles(30n, 3), cut, ...singles(60n, 3)];
    const outcomes = await burst(requests);
    const [refused, cutRefused] = [14, 18].map((n) => outcomes[n]);
    expect([refused, cutRefused]).toEqual([
      expect.stringContaining('Integer division by zero'),
      expect.stringContaining('Integer division by zero'),
    ]);
    expect(outcomes).toEqual(requests.map((request, n) => (n === 14 || n === 18 ? outcomes[n] : quotients(request))));
    expect(await worker.children('runtime')).toEqual(runtime);
  });
});
