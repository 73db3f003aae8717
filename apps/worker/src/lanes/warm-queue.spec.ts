import { syncBuiltinESMExports } from 'node:module';
import timersPromises from 'node:timers/promises';
import { WarmlaneError, type WarmRecord } from '@warmlane/contracts';
import { isServing, isWarming } from '@warmlane/lanes';
import { heldVersion } from '@warmlane/testing';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { GROUP } from '../limits.js';
import type { HeldVersion } from '../models/held-version.js';
import { Lane } from './lane.js';
import { LaneRegistry } from './lane-registry.js';
import { laneSpecOf } from './lane-spec.js';
import { WarmQueue } from './warm-queue.js';

const held: HeldVersion = heldVersion();

const record: WarmRecord = {
  firstMs: 1,
  createMs: 1,
  captureMs: null,
  steadyP50Ms: 1,
  steadyP99Ms: 1,
  revisitP50Ms: 1,
  revisit: 'shapes',
  relativeError: 0,
  tolerance: 1,
  inputs: 'guessed',
  samples: 1,
  optionsParsed: {},
  placement: {},
  graph: '',
  memoryBytes: 1,
  environment: 'e',
  verifiedAt: '',
};

type Step = 'trial' | 'create' | 'capture' | 'prove';

interface Handled {
  lane: string;
  code: string;
  life: number;
  where: 'runtime' | 'trial';
}

/** A queue whose steps take their time and fail as a test says. What happens is logged: `create+ 1`, `create- 1`, `ready 1`. */
class Bench {
  readonly log: string[] = [];
  readonly handled: Handled[] = [];
  readonly registry = new LaneRegistry();
  readonly life = { current: 0, up: true, settled: () => this.settled };
  readonly watcher = {
    quietMs: 60_000,
    revisitNeighbour: (lane: Lane) => this.note(`revisit ${this.nameOf(lane)}`),
  };
  readonly tookMs: Record<Step, number> = { trial: 70, create: 100, capture: 20, prove: 50 };
  /** By step, the lanes that fail in it. */
  readonly failing: Partial<Record<Step, string[]>> = {};
  readonly toMeasure = new Set<Lane>();
  /** Labels that the stall monitor would name. */
  readonly entered: string[] = [];
  settled = Promise.resolve();
  redisIsAway = false;
  /** The state in which a lane is left whose end Redis refused: its own, or the one that was to be written. */
  unwritten: 'QUEUED' | 'CREATING' = 'CREATING';
  closingShared = Promise.resolve();
  private readonly names = new Map<Lane, string>();
  private readonly running = new Set<(thrown: Error) => void>();

  readonly queue = new WarmQueue(
    { call: () => Promise.reject(new Error('no runtime in this test')) },
    this.life,
    this.registry,
    { epoch: 1, move: (lane, to) => this.move(lane, to) },
    {
      create: async (lane) => {
        const created = { createMs: 1, optionsParsed: {}, placement: {}, weights: { sharedBytes: 0, reason: '' } };
        await this.step(lane, 'create', 'CREATING');
        return { created, firstMs: 1 };
      },
      capture: async (lane, begun) => {
        await this.step(lane, 'capture', 'CAPTURING');
        lane.state = 'MEASURING';
        return { ...begun, captureMs: null, graph: '' };
      },
      prove: async (lane) => {
        await this.step(lane, 'prove', 'VERIFYING');
        lane.disturbed = false;
        return record;
      },
    },
    {
      tryLane: async (lane, { alone }) => {
        if (alone) await this.note(`alone ${this.nameOf(lane)}`);
        await this.step(lane, 'trial', 'QUEUED');
        return { bytes: 1, weights: null };
      },
      closeShared: () => this.closingShared,
    },
    {
      known: () => null,
      mustMeasure: (lane) => this.toMeasure.has(lane),
      learn: (lane) => {
        this.toMeasure.delete(lane);
        return Promise.resolve();
      },
    },
    {
      drain: async (lane) => {
        if (!isServing(lane.state)) return;
        await this.note(`drain ${this.nameOf(lane)}`);
        this.registry.remove(lane);
      },
      release: (lane) => this.note(`release ${this.nameOf(lane)}`),
    },
    this.watcher,
    {
      refuse: () => Promise.resolve(),
      admit: () => undefined,
      clear: () => Promise.resolve(),
      handle: (lane, thrown, at) => this.handle(lane, thrown, at),
    },
    { laneReady: ({ id }) => this.note(`told ${this.nameOf(this.registry.find(id))}`) },
    {
      enter: (label) => {
        this.entered.push(label);
        return () => void this.entered.splice(this.entered.indexOf(label), 1);
      },
    },
    { warn: () => undefined, error: () => undefined },
  );

  constructor(private readonly device: 'cpu' | 'cuda') {}

  /** Lanes in the order of their priority, with the names given. */
  add(...names: string[]): Lane[] {
    return names.map((name) => this.addAt(name, this.registry.all.length + 1));
  }

  /** At the place of another lane with the same shape. */
  addAt(name: string, shape: number): Lane {
    const spec = laneSpecOf(held, { shapeKey: `x:float32[${shape}]`, options: {} }, this.device);
    const lane = new Lane(spec, 'plan', 1, this.names.size, '');
    this.names.set(lane, name);
    this.registry.add(lane);
    return lane;
  }

  /** @param ms of the fake clock */
  async run(ms: number): Promise<void> {
    this.queue.start();
    await vi.advanceTimersByTimeAsync(ms);
  }

  /** Everything that the runtime holds and does is gone. */
  runtimeEnds(): void {
    this.life.current += 1;
    for (const fail of this.running) fail(new WarmlaneError('worker-gone', 'killed by SIGSEGV'));
  }

  states(): string[] {
    return this.registry.all.map((lane) => `${this.nameOf(lane)} ${lane.state}`);
  }

  /** Names of the lanes for which something was logged, in that order. */
  namesOf(what: string): string[] {
    return this.log.flatMap((line) => (line.startsWith(`${what} `) ? [line.slice(what.length + 1)] : []));
  }

  /** How often the first was logged without the second, at most at a time. */
  most(begin: string, ends: readonly string[]): number {
    let now = 0;
    let most = 0;
    for (const line of this.log) {
      const [what = ''] = line.split(' ');
      if (what === begin) now += 1;
      else if (ends.includes(what)) now -= 1;
      most = Math.max(most, now);
    }
    return most;
  }

  at(line: string): number {
    const index = this.log.indexOf(line);
    if (index === -1) throw new Error(`'${line}' was not logged:\n${this.log.join('\n')}`);
    return index;
  }

  private nameOf(lane: Lane | null): string {
    return (lane !== null && this.names.get(lane)) || '?';
  }

  private note(line: string): Promise<void> {
    this.log.push(line);
    return Promise.resolve();
  }

  private async move(lane: Lane, to: Lane['state']): Promise<void> {
    lane.state = to;
    lane.since = new Date();
    if (this.redisIsAway) throw new Error('OOM command not allowed');
    await this.note(`${to.toLowerCase()} ${this.nameOf(lane)}`);
  }

  private async step(lane: Lane, step: Step, state: Lane['state']): Promise<void> {
    const name = this.nameOf(lane);
    if (lane.abort.signal.aborted) throw new WarmlaneError('canceled', 'ended');
    this.log.push(`${step}+ ${name}`);
    lane.state = state;
    let fail: (thrown: Error) => void = () => undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        fail = reject;
        this.running.add(fail);
        setTimeout(resolve, this.tookMs[step]);
      });
      if (this.failing[step]?.includes(name)) throw new WarmlaneError('internal', `failed in ${step}`);
    } finally {
      this.running.delete(fail);
      this.log.push(`${step}- ${name}`);
    }
  }

  /** As LaneFailures does: what was lost with the runtime is QUEUED again, the rest of the reasons fail here. */
  private async handle(lane: Lane, thrown: unknown, at: { life: number; where: 'runtime' | 'trial' }): Promise<void> {
    const { code } = WarmlaneError.from(thrown);
    const name = this.nameOf(lane);
    this.handled.push({ lane: name, code, ...at });
    if (this.redisIsAway && this.unwritten === 'QUEUED') lane.state = 'QUEUED';
    if (this.redisIsAway) throw new Error('OOM command not allowed');
    lane.state = code === 'worker-gone' ? 'QUEUED' : 'FAILED';
    await this.note(`handled ${name}`);
  }
}

const ready = (names: readonly string[]): string[] => names.map((name) => `${name} READY`);

/** Its own timer is one of those that are faked. */
const delayed = (ms?: number, value?: unknown, { signal }: { signal?: AbortSignal } = {}): Promise<unknown> =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms, value);
    const ended = (): void => {
      clearTimeout(timer);
      reject(new Error('aborted'));
    };
    if (signal?.aborted === true) ended();
    else signal?.addEventListener('abort', ended);
  });

// Fake timers do not reach Node's module of promises. It is changed itself, not mocked: other files of this process may have
// imported the queue before, and its imports by name follow when they are told to.
beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(timersPromises, 'setTimeout').mockImplementation(delayed as typeof timersPromises.setTimeout);
  syncBuiltinESMExports();
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  syncBuiltinESMExports();
});

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
