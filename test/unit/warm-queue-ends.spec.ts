import { isServing, isWarming } from '@warmlane/lanes';
import { describe, expect, it } from 'vitest';
import { Bench, ready, useFakeDelays } from './warm-queue.fixture.js';

useFakeDelays();

describe('a lane that fails', () => {
  it.each(['create', 'capture', 'prove'] as const)('in %s leaves the others of its group alone', async (step) => {
    const bench = new Bench('cuda');
    const [, second, third] = bench.add('1', '2', '3', '4');
    bench.failing[step] = ['2'];
    while (bench.namesOf('handled').length === 0) await bench.run(1);
    expect(bench.handled).toEqual([{ lane: '2', code: 'internal', life: 0, where: 'runtime' }]);
    expect([second, third].map((lane) => lane !== undefined && bench.queue.isWarming(lane))).toEqual([false, true]);
    await bench.run(2_000);
    expect(bench.handled).toHaveLength(1);
    expect(bench.states()).toEqual(['1 READY', '2 FAILED', '3 READY', '4 READY']);
    expect(bench.registry.all.filter((lane) => bench.queue.isWarming(lane))).toEqual([]);
    expect(bench.entered).toEqual([]);
  });
});

describe('a lane whose proof comes too late', () => {
  it('because it was dismissed meanwhile', async () => {
    const bench = new Bench('cuda');
    const [first] = bench.add('1', '2');
    await bench.run(150);
    expect(bench.namesOf('prove+')).toEqual(['1', '2']);
    first?.abort.abort();
    await bench.run(2_000);
    expect(bench.handled).toEqual([{ lane: '1', code: 'canceled', life: 0, where: 'runtime' }]);
    expect(bench.namesOf('ready')).toEqual(['2']);
    // Wanted again.
    if (first !== undefined) first.state = 'QUEUED';
    bench.queue.wake();
    await bench.run(1_000);
    expect(bench.states()).toEqual(ready(['1', '2']));
  });

  it('because the runtime ended after its last step', async () => {
    const bench = new Bench('cuda');
    bench.add('1');
    await bench.run(130);
    expect(bench.namesOf('prove+')).toEqual(['1']);
    bench.life.current += 1;
    await bench.run(50);
    expect(bench.handled).toEqual([{ lane: '1', code: 'worker-gone', life: 0, where: 'runtime' }]);
    expect(bench.namesOf('ready')).toEqual([]);
    await bench.run(2_000);
    expect(bench.states()).toEqual(ready(['1']));
  });
});

describe('the end of the runtime', () => {
  const four = ['1', '2', '3', '4'];
  const gone = four.map((lane) => ({ lane, code: 'worker-gone', life: 0, where: 'runtime' }));

  it('takes the lanes that wait for their capture with it', async () => {
    const bench = new Bench('cuda');
    bench.add(...four);
    await bench.run(110);
    expect(bench.namesOf('capture+')).toEqual(['1']);
    bench.runtimeEnds();
    await bench.run(0);
    expect(bench.handled).toEqual(gone);
    expect(bench.namesOf('capture+')).toEqual(['1']);
    expect(bench.namesOf('prove+')).toEqual([]);
    await bench.run(2_000);
    expect(bench.states()).toEqual(ready(four));
    expect(bench.handled).toHaveLength(4);
  });

  it('takes the lanes that wait for their proof with it, and those that are being created', async () => {
    const bench = new Bench('cuda');
    bench.add(...four, '5', '6');
    await bench.run(200);
    expect(bench.namesOf('create+')).toEqual([...four, '5', '6']);
    expect(bench.namesOf('prove+')).toEqual(['1', '2']);
    bench.runtimeEnds();
    await bench.run(0);
    expect(bench.handled).toHaveLength(6);
    expect(bench.handled.toSorted((a, b) => (a.lane < b.lane ? -1 : 1))).toEqual([
      ...gone,
      ...['5', '6'].map((lane) => ({ lane, code: 'worker-gone', life: 0, where: 'runtime' })),
    ]);
    expect(bench.namesOf('prove+')).toEqual(['1', '2']);
    await bench.run(2_000);
    expect(bench.states()).toEqual(ready([...four, '5', '6']));
  });

  it('is waited out: nothing is begun while there is no runtime', async () => {
    const bench = new Bench('cuda');
    bench.add('1');
    bench.life.up = false;
    await bench.run(5_000);
    expect(bench.log).toEqual([]);
    bench.life.up = true;
    bench.queue.wake();
    await bench.run(1_000);
    expect(bench.states()).toEqual(ready(['1']));
  });
});

describe('while what becomes of a lane cannot be written', () => {
  it.each(['QUEUED', 'CREATING'] as const)('the queue takes a breath, then tries it again (%s)', async (left) => {
    const bench = new Bench('cuda');
    bench.add('1', '2', '3', '4', '5');
    bench.failing.create = ['1', '2', '3', '4'];
    bench.redisIsAway = true;
    bench.unwritten = left;
    while (bench.handled.length < 4) await bench.run(1);
    for (let second = 0; second < 9; second += 1) {
      bench.queue.wake();
      await bench.run(100);
    }
    expect(bench.handled).toHaveLength(4);
    expect(bench.namesOf('release')).toEqual(left === 'CREATING' ? ['1', '2', '3', '4'] : []);
    delete bench.failing.create;
    bench.redisIsAway = false;
    await bench.run(2_000);
    expect(bench.states()).toEqual(ready(['1', '2', '3', '4', '5']));
  });

  it('a lane that is READY only here serves nobody, and its predecessor stays', async () => {
    const bench = new Bench('cuda');
    bench.addAt('old', 9).state = 'READY';
    const successor = bench.addAt('new', 9);
    await bench.run(150);
    bench.redisIsAway = true;
    while (bench.handled.length === 0) await bench.run(1);
    expect(bench.namesOf('drain')).toEqual([]);
    expect(isServing(successor.state)).toBe(false);
    bench.redisIsAway = false;
    await bench.run(3_000);
    expect(bench.states()).toEqual(ready(['new']));
  });

  it('it breathes as well where the loop itself fails', async () => {
    const bench = new Bench('cuda');
    bench.add('1');
    let asked = 0;
    bench.life.settled = () => {
      asked += 1;
      return Promise.reject(new Error('not settled'));
    };
    await bench.run(990);
    expect(asked).toBe(1);
    await bench.run(20);
    expect(asked).toBe(2);
  });
});

describe('the end of the worker', () => {
  it('gives up the lanes that wait, at their next step, and begins none', async () => {
    const bench = new Bench('cuda');
    const lanes = bench.add('1', '2', '3', '4', '5', '6');
    await bench.run(130);
    expect(bench.namesOf('capture+')).toEqual(['1', '2']);
    let closed = false;
    void bench.queue.close().then(() => {
      closed = true;
    });
    expect(lanes.map((lane) => lane.abort.signal.aborted)).toEqual([true, true, true, true, false, false]);
    await bench.run(100);
    expect(closed).toBe(true);
    expect(bench.namesOf('capture+')).toEqual(['1', '2']);
    expect(bench.namesOf('prove+')).toEqual([]);
    expect(bench.handled.map(({ lane, code }) => `${lane} ${code}`)).toEqual(
      ['3', '4', '1', '2'].map((name) => `${name} canceled`),
    );
    expect(lanes.slice(4).map((lane) => isWarming(lane.state))).toEqual([true, true]);
    expect(bench.entered).toEqual([]);
  });

  it.each([
    ['nothing is due', (): void => undefined],
    [
      'the shared process is being ended',
      (bench: Bench, wait: Promise<void>): void => {
        bench.closingShared = wait;
      },
    ],
    [
      'the runtime settles',
      (bench: Bench, wait: Promise<void>): void => {
        bench.settled = wait;
      },
    ],
  ])('is not missed while %s', async (_, hold) => {
    const bench = new Bench('cuda');
    let go: () => void = () => undefined;
    const wait = new Promise<void>((resolve) => {
      go = resolve;
    });
    hold(bench, wait);
    await bench.run(10);
    let closed = false;
    void bench.queue.close().then(() => {
      closed = true;
    });
    await bench.run(10);
    go();
    await bench.run(100);
    expect(closed).toBe(true);
  });

  it('is not held up by the breath', async () => {
    const bench = new Bench('cuda');
    bench.life.settled = () => Promise.reject(new Error('not settled'));
    await bench.run(10);
    let closed = false;
    void bench.queue.close().then(() => {
      closed = true;
    });
    await bench.run(10);
    expect(closed).toBe(true);
  });
});
