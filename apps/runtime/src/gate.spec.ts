import { beforeEach, describe, expect, it } from 'vitest';
import { Gate } from './gate.js';

/** Time that moves by hand. */
class FakeClock {
  #nowMs = 10_000;
  #timers: { atMs: number; then: () => void }[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  after(ms: number, then: () => void): () => void {
    const timer = { atMs: this.#nowMs + ms, then };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Fires what is due, in order, and lets the promises in between settle. */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settle();
    for (;;) {
      const [next] = this.#timers.filter((timer) => timer.atMs <= endMs).sort((a, b) => a.atMs - b.atMs);
      if (next === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#nowMs = next.atMs;
      next.then();
      await settle();
    }
    this.#nowMs = endMs;
  }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

/** Work that ends when told to. */
function work(log: string[], name: string): { run: () => Promise<string>; end: (error?: Error) => void } {
  let finish: (error?: Error) => void = () => undefined;
  const done = new Promise<string>((resolve, reject) => {
    finish = (error) => (error === undefined ? resolve(name) : reject(error));
  });
  return {
    run: () => {
      log.push(`${name} in`);
      return done;
    },
    end: (error) => finish(error),
  };
}

let clock: FakeClock;
let gate: Gate;
let log: string[];
const capture = (name: string) => (): string => {
  log.push(name);
  return name;
};

beforeEach(() => {
  clock = new FakeClock();
  gate = new Gate(clock);
  log = [];
});

describe('the gate', () => {
  it('lets pool-thread work run together', async () => {
    const [a, b] = [work(log, 'a'), work(log, 'b')];
    const both = Promise.all([gate.shared(a.run), gate.shared(b.run)]);
    await settle();
    expect(log).toEqual(['a in', 'b in']);
    a.end();
    b.end();
    expect(await both).toEqual(['a', 'b']);
    expect(gate.inside).toBe(0);
  });

  it('lets a capture in when the work inside is done, and work that came later after it', async () => {
    const [a, b] = [work(log, 'a'), work(log, 'b')];
    const first = gate.shared(a.run);
    const captured = gate.alone(capture('capture'));
    await settle();
    const second = gate.shared(b.run);
    await settle();
    expect(log).toEqual(['a in']);
    a.end();
    await first;
    expect(await captured).toEqual({ value: 'capture' });
    await settle();
    expect(log).toEqual(['a in', 'capture', 'b in']);
    b.end();
    await second;
  });

  it('lets a capture in when the work inside fails', async () => {
    const a = work(log, 'a');
    const first = gate.shared(a.run);
    const captured = gate.alone(capture('capture'));
    a.end(new Error('refused'));
    await expect(first).rejects.toThrow('refused');
    expect(await captured).toEqual({ value: 'capture' });
  });

  it('steps back after 5 s, lets through who waited, and tries again', async () => {
    const [long, waiting] = [work(log, 'long'), work(log, 'waiting')];
    const first = gate.shared(long.run);
    const captured = gate.alone(capture('capture'));
    await settle();
    const second = gate.shared(waiting.run);
    await clock.advance(4999);
    expect(log).toEqual(['long in']);
    await clock.advance(1);
    expect(log).toEqual(['long in', 'waiting in']);
    waiting.end();
    await second;
    await clock.advance(250);
    long.end();
    await first;
    expect(await captured).toEqual({ value: 'capture' });
  });

  it('gives up after five tries, and the next capture has five of its own', async () => {
    const long = work(log, 'long');
    const first = gate.shared(long.run);
    const captured = gate.alone(capture('never'));
    const later = gate.alone(capture('later'));
    await clock.advance(5 * 5000 + 4 * 250);
    expect(await captured).toBeNull();
    await clock.advance(5000);
    long.end();
    await first;
    await clock.advance(250);
    expect(await later).toEqual({ value: 'later' });
    expect(log).toEqual(['long in', 'later']);
  });

  it('captures back to back while nothing is served', async () => {
    await Promise.all([gate.alone(capture('1')), gate.alone(capture('2'))]);
    expect(log).toEqual(['1', '2']);
  });

  it('keeps 200 ms between two captures while requests are served, and pool-thread work goes on meanwhile', async () => {
    gate.requestArrived();
    await gate.alone(capture('1'));
    const second = gate.alone(capture('2'));
    await clock.advance(199);
    const a = work(log, 'a');
    a.end();
    await gate.shared(a.run);
    expect(log).toEqual(['1', 'a in']);
    await clock.advance(1);
    await second;
    expect(log).toEqual(['1', 'a in', '2']);
  });

  it('does not keep the distance once the last request is over a second old', async () => {
    gate.requestArrived();
    await clock.advance(1001);
    await Promise.all([gate.alone(capture('1')), gate.alone(capture('2'))]);
    expect(log).toEqual(['1', '2']);
  });

  it('opens again after a capture that threw', async () => {
    const failed = gate.alone(() => {
      throw new Error('CUDA failure 900');
    });
    await expect(failed).rejects.toThrow('900');
    const a = work(log, 'a');
    a.end();
    expect(await gate.shared(a.run)).toBe('a');
    expect(await gate.alone(capture('next'))).toEqual({ value: 'next' });
  });

  it('is idle when nobody is inside', async () => {
    await gate.idle();
    const a = work(log, 'a');
    const first = gate.shared(a.run);
    let idle = false;
    const waiting = gate.idle().then(() => {
      idle = true;
    });
    await settle();
    expect(idle).toBe(false);
    a.end();
    await Promise.all([first, waiting]);
  });
});
