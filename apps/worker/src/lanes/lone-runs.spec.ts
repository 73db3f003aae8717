import { setTimeout as delay } from 'node:timers/promises';
import type { PlainRunParams, RuntimeMethods } from '@warmlane/contracts';
import { describe, expect, it, vi } from 'vitest';
import type { TrialRuntime } from '../ports.js';
import { LoneRuns } from './lone-runs.js';

type Verdict = 'right' | 'dies';

/** Disposable runtimes in which a request dies by its name, and which are ended for all by one named `spoils`. */
class Trials {
  readonly ran: string[] = [];
  opened = 0;
  alive = 0;

  async open(): Promise<TrialRuntime> {
    this.opened += 1;
    this.alive += 1;
    const number = this.opened;
    let spoiled = false;
    const run = async (params: PlainRunParams): Promise<RuntimeMethods['plain.run']['result']> => {
      const [name = ''] = params.outputs;
      this.ran.push(`${name} in ${number}`);
      const verdict: Verdict = spoiled || name === 'killer' ? 'dies' : 'right';
      spoiled ||= name === 'spoils';
      if (verdict === 'dies') throw new Error(`${name} ended ${number}`);
      return { outputs: [], copyMs: 0, computeMs: number };
    };
    return {
      hello: {} as TrialRuntime['hello'],
      call: (_, params) => run(params as PlainRunParams) as never,
      [Symbol.asyncDispose]: async () => {
        this.alive -= 1;
      },
    };
  }
}

const request = (name: string): PlainRunParams => ({
  session: 'm',
  model: { path: '/m', digest: 'm' },
  providers: ['cpu'],
  options: { provider: {}, session: {}, run: {} },
  inputs: [],
  outputs: [name],
});

describe('LoneRuns', () => {
  it('gives the next request the process in which the one before went well', async () => {
    const trials = new Trials();
    const runs = new LoneRuns(trials, 60_000);
    for (const name of ['a', 'b', 'c']) expect((await runs.run(request(name), 100)).computeMs).toBe(1);
    expect([trials.opened, trials.alive]).toEqual([1, 1]);
  });

  it('charges a request only with what it does in a process of its own', async () => {
    const trials = new Trials();
    const runs = new LoneRuns(trials, 60_000);
    await runs.run(request('a'), 100);
    await expect(runs.run(request('killer'), 100)).rejects.toThrow('killer ended 2');
    await expect(runs.run(request('killer'), 100)).rejects.toThrow('killer ended 3');
    expect((await runs.run(request('b'), 100)).computeMs).toBe(4);
    expect(trials.ran).toEqual(['a in 1', 'killer in 1', 'killer in 2', 'killer in 3', 'b in 4']);
    expect(trials.alive).toBe(1);
  });

  it('does not let one pay for what another left behind', async () => {
    const trials = new Trials();
    const runs = new LoneRuns(trials, 60_000);
    await runs.run(request('spoils'), 100);
    expect((await runs.run(request('a'), 100)).computeMs).toBe(2);
    expect(trials.ran).toEqual(['spoils in 1', 'a in 1', 'a in 2']);
  });

  it('has one process at a time where several run at once, and none when nobody comes any more', async () => {
    const trials = new Trials();
    const runs = new LoneRuns(trials, 30);
    await Promise.all(['a', 'b'].map((name) => runs.run(request(name), 100)));
    expect([trials.opened, trials.alive]).toEqual([2, 1]);
    await vi.waitFor(() => expect(trials.alive).toBe(0), { timeout: 5_000 });
    await delay(1);
    expect((await runs.run(request('c'), 100)).computeMs).toBe(3);
  });
});
