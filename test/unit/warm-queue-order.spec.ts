import { describe, expect, it } from 'vitest';
import { GROUP } from '../../apps/worker/src/limits.js';
import { Bench, ready, useFakeDelays } from './warm-queue.fixture.js';

useFakeDelays();

describe('lanes on a GPU', () => {
  const six = ['1', '2', '3', '4', '5', '6'];

  it('are created four at a time, captured one after the other, proven while the next ones are created', async () => {
    const bench = new Bench('cuda');
    bench.add(...six);
    await bench.run(2_000);
    expect(bench.states()).toEqual(ready(six));
    expect(bench.most('create+', ['create-'])).toBe(GROUP.lanes);
    expect(bench.most('capture+', ['capture-'])).toBe(1);
    expect(bench.most('prove+', ['prove-'])).toBe(GROUP.proofs);
    // No capture begins while a session is being made: CUDA refuses what other threads do meanwhile.
    for (const name of six) {
      const before = bench.log.slice(0, bench.at(`capture+ ${name}`));
      const open = before.filter((line) => line.startsWith('create'));
      expect(open.filter((line) => line.startsWith('create+'))).toHaveLength(open.length / 2);
    }
    expect(bench.at('capture- 4')).toBeLessThan(bench.at('create+ 5'));
    expect(bench.at('create+ 5')).toBeLessThan(bench.at('prove- 1'));
    expect(bench.at('prove- 1')).toBeLessThan(bench.at('create- 5'));
    for (const step of ['create+', 'capture+', 'prove+', 'ready', 'told']) expect(bench.namesOf(step)).toEqual(six);
    // A newest lane that was there before the second group (3 and 4 are of one age); before the first there was none.
    expect(bench.namesOf('revisit')).toEqual(['3']);
    expect(bench.handled).toEqual([]);
    expect(bench.entered).toEqual([]);
  });

  it('begin by their priority, whenever they were added', async () => {
    const bench = new Bench('cuda');
    const lanes = bench.add(...six);
    for (const lane of lanes.toReversed()) {
      bench.registry.remove(lane);
      bench.registry.add(lane);
    }
    await bench.run(2_000);
    expect(bench.namesOf('create+')).toEqual(six);
    expect(bench.namesOf('ready')).toEqual(six);
  });

  it('are disturbed where others were created or captured beside their proof', async () => {
    const bench = new Bench('cuda');
    const lanes = bench.add(...six);
    bench.tookMs.prove = 150;
    await bench.run(2_000);
    // 5 and 6 take 140 ms: the proofs of 1 and 2 began with them and end after them.
    expect(lanes.map((lane) => lane.disturbed)).toEqual([true, true, false, false, false, false]);
  });

  it('are finished one by one while requests come, and go in groups again after a second without', async () => {
    const bench = new Bench('cuda');
    const lanes = bench.add('1', '2', '3');
    bench.watcher.quietMs = GROUP.quietMs - 1;
    await bench.run(2_000);
    expect(bench.states()).toEqual(ready(['1', '2', '3']));
    expect(bench.most('create+', ['ready'])).toBe(1);
    expect(lanes.map((lane) => lane.disturbed)).toEqual([false, false, false]);

    bench.watcher.quietMs = GROUP.quietMs;
    bench.add('4', '5');
    bench.queue.wake();
    await bench.run(1_000);
    expect(bench.most('create+', ['ready'])).toBe(2);
  });

  it('wait where 16 are not proven yet', async () => {
    const bench = new Bench('cuda');
    const names = Array.from({ length: 40 }, (_, index) => String(index + 1));
    // A group of four takes 180 ms: fewer than four were proven when the sixteenth is captured.
    bench.tookMs.prove = 300;
    bench.add(...names);
    await bench.run(60_000);
    expect(bench.states()).toEqual(ready(names));
    expect(bench.most('create+', ['ready'])).toBe(GROUP.mostUnproven);
  });
});

describe('lanes on the CPU', () => {
  it('are finished one by one', async () => {
    const bench = new Bench('cpu');
    const lanes = bench.add('1', '2', '3');
    await bench.run(2_000);
    expect(bench.states()).toEqual(ready(['1', '2', '3']));
    expect(bench.most('create+', ['ready'])).toBe(1);
    expect(lanes.map((lane) => lane.disturbed)).toEqual([false, false, false]);
  });
});

describe('a lane that goes alone', () => {
  it('a successor: after the proofs before it, and before the next lane its predecessor is drained', async () => {
    const bench = new Bench('cuda');
    const old = bench.addAt('old', 9);
    old.state = 'READY';
    bench.add('1', '2');
    bench.addAt('new', 9);
    bench.add('3', '4');
    await bench.run(2_000);
    expect(bench.states()).toEqual(ready(['1', '2', 'new', '3', '4']));
    expect(bench.at('ready 2')).toBeLessThan(bench.at('create+ new'));
    expect(bench.at('ready new')).toBeLessThan(bench.at('drain old'));
    // Until then there is no reserve for the lanes after it.
    expect(bench.at('drain old')).toBeLessThan(bench.at('create+ 3'));
    expect(bench.namesOf('drain')).toEqual(['old']);
    expect(bench.at('create+ 4')).toBeLessThan(bench.at('create- 3'));
  });

  it('a successor that fails: its predecessor stays', async () => {
    const bench = new Bench('cuda');
    bench.addAt('old', 9).state = 'READY';
    bench.addAt('new', 9);
    bench.failing.prove = ['new'];
    await bench.run(2_000);
    expect(bench.states()).toEqual(['old READY', 'new FAILED']);
    expect(bench.namesOf('drain')).toEqual([]);
  });

  it('one that must be measured: after the proofs before it, in a disposable process first', async () => {
    const bench = new Bench('cuda');
    const [, , third, fourth] = bench.add('1', '2', '3', '4', '5', '6');
    for (const lane of [third, fourth]) if (lane !== undefined) bench.toMeasure.add(lane);
    await bench.run(3_000);
    expect(bench.states()).toEqual(ready(['1', '2', '3', '4', '5', '6']));
    expect(bench.namesOf('trial+')).toEqual(['3', '4']);
    expect(bench.at('ready 2')).toBeLessThan(bench.at('trial+ 3'));
    expect(bench.at('trial- 3')).toBeLessThan(bench.at('create+ 3'));
    expect(bench.at('ready 3')).toBeLessThan(bench.at('trial+ 4'));
    expect(bench.at('capture- 4')).toBeLessThan(bench.at('create+ 5'));
    expect(bench.namesOf('alone')).toEqual([]);
    expect(bench.toMeasure.size).toBe(0);
  });

  it('one under suspicion: in a process of its own', async () => {
    const bench = new Bench('cuda');
    const [first] = bench.add('1', '2');
    if (first !== undefined) first.suspicion = { deaths: 1, trialFirst: true };
    await bench.run(2_000);
    expect(bench.states()).toEqual(ready(['1', '2']));
    expect(bench.namesOf('alone')).toEqual(['1']);
    expect(bench.at('alone 1')).toBeLessThan(bench.at('create+ 1'));
    // What would happen to it in the runtime is its second chance, not its first.
    expect(first?.suspicion).toEqual({ deaths: 1, trialFirst: false });
    expect(bench.at('capture- 1')).toBeLessThan(bench.at('create+ 2'));
  });

  it('whose disposable process dies: it was there, and the runtime is not charged', async () => {
    const bench = new Bench('cuda');
    for (const lane of bench.add('1', '2')) bench.toMeasure.add(lane);
    bench.failing.trial = ['1'];
    bench.failing.create = ['2'];
    await bench.run(2_000);
    expect(bench.handled).toEqual([
      { lane: '1', code: 'internal', life: 0, where: 'trial' },
      { lane: '2', code: 'internal', life: 0, where: 'runtime' },
    ]);
    expect(bench.namesOf('create+')).toEqual(['2']);
  });
});
