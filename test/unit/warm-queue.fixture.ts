import { syncBuiltinESMExports } from 'node:module';
import timersPromises from 'node:timers/promises';
import { WarmlaneError, type WarmRecord } from '@warmlane/contracts';
import { isServing } from '@warmlane/lanes';
import { heldVersion } from '@warmlane/testing';
import { afterEach, beforeEach, vi } from 'vitest';
import { Lane } from '../../apps/worker/src/lanes/lane.js';
import { LaneRegistry } from '../../apps/worker/src/lanes/lane-registry.js';
import { laneSpecOf } from '../../apps/worker/src/lanes/lane-spec.js';
import { WarmQueue } from '../../apps/worker/src/lanes/warm-queue.js';
import type { HeldVersion } from '../../apps/worker/src/models/held-version.js';

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
export class Bench {
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

export const ready = (names: readonly string[]): string[] => names.map((name) => `${name} READY`);

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

/**
 * Fake timers do not reach Node's module of promises. It is changed itself, not mocked: other files of this process may have
 * imported the queue before, and its imports by name follow when they are told to.
 */
export function useFakeDelays(): void {
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
}
