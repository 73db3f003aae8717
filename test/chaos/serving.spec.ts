import { setTimeout as delay } from 'node:timers/promises';
import { keys } from '@warmlane/redis';
import { addSubModel } from '@warmlane/testing';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Outcome, ServingSystem, steady } from '../support/serving-system.js';

const KEY = 'INPUT0:int32[1,16];INPUT1:int32[1,16]';
const ADD = { bytes: addSubModel(), yaml: `shapes: ["${KEY}"]\n` };

describe('two workers under load', () => {
  let system: ServingSystem;

  afterEach(async () => {
    await system[Symbol.asyncDispose]();
  });

  /** Until the load has gone on for so many requests more: what a fault did to it has shown. */
  const more = (load: { count: () => number }, requests: number) => {
    const from = load.count();
    return vi.waitFor(() => expect(load.count()).toBeGreaterThan(from + requests), { timeout: 60_000 });
  };

  /** Refused before it was accepted is no loss: the client was told so at once, and may send again. */
  const lost = (outcomes: readonly Outcome[]) => outcomes.filter(({ right, code }) => !right && code !== 'redis-away');

  const answeredTwice = async (): Promise<number> => {
    const names = (await system.redis.xrange(keys.replies(system.producer.id), '-', '+')).map(
      ([, fields]) => fields[1],
    );
    return names.length - new Set(names).size;
  };

  it('loses nothing and answers nothing twice while workers and runtimes are killed in turn', async () => {
    system = await ServingSystem.start({ add: ADD });
    system.startWorker();
    await system.untilReady(1);
    system.startWorker();
    await system.untilLive(2);
    // While no lane serves, each queue has one request at a time on the fallback: the load leaves room for that.
    const load = steady(system, 20);
    await more(load, 40);
    const [oldest] = system.workers;
    await oldest?.killChild('runtime');
    await more(load, 20);
    await oldest?.kill();
    system.startWorker();
    await more(load, 20);
    await system.untilLive(2);
    await system.untilServing(60_000);
    const outcomes = await load.end();
    expect(lost(outcomes)).toEqual([]);
    expect(await answeredTwice()).toBe(0);
    expect(outcomes.filter(({ lane }) => lane === 'ready').length).toBeGreaterThan(40);
  });

  it('loses nothing while Redis stands still for 5 s, and no lane counts as gone', async () => {
    system = await ServingSystem.start({ add: ADD });
    system.startWorker();
    const [before] = await system.untilReady(1);
    const load = steady(system, 60);
    await more(load, 100);
    system.server.pause();
    await delay(5_000);
    system.server.resume();
    await more(load, 200);
    const outcomes = await load.end();
    expect(lost(outcomes)).toEqual([]);
    expect(await answeredTwice()).toBe(0);
    const [after] = await system.untilReady(1);
    expect(after).toMatchObject({ id: before?.id, epoch: before?.epoch, since: before?.since });
  });

  it('loses nothing while Redis crashes and comes back with its file', async () => {
    system = await ServingSystem.start({ add: ADD }, { persistence: 'aof' });
    system.startWorker();
    const [before] = await system.untilReady(1);
    const load = steady(system, 60);
    await more(load, 100);
    await system.server.restart();
    await more(load, 150);
    const outcomes = await load.end();
    expect(lost(outcomes)).toEqual([]);
    const [after] = await system.untilReady(1);
    expect(after).toMatchObject({ id: before?.id, epoch: before?.epoch });
  });
});
