import { performance } from 'node:perf_hooks';
import { describe, expect, it } from 'vitest';
import { StallMonitor } from './stall-monitor.js';

const block = (ms: number) => {
  const end = performance.now() + ms;
  while (performance.now() < end);
};

interface Line {
  stallMs: number;
  inFlight: string[];
}

function monitored(thresholdMs: number) {
  const lines: { fields: Line; message: string }[] = [];
  let arrived = () => {};
  const seen = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  const monitor = new StallMonitor({
    thresholdMs,
    intervalMs: 5,
    log: {
      warn: (fields, message) => {
        lines.push({ fields: fields as Line, message });
      },
    },
    onStall: () => arrived(),
  });
  monitor.start();
  return { monitor, lines, seen };
}

describe('StallMonitor', () => {
  it('names the job that blocked the loop, also when it has left by then', async () => {
    const { monitor, lines, seen } = monitored(60);
    using _ = monitor;
    const leave = monitor.enter('waiting request');
    await new Promise((resolve) => setImmediate(resolve));
    await monitor.run('infer rec/1', () => block(150));
    await seen;
    leave();
    expect(lines).toHaveLength(1);
    expect(lines[0]?.fields.stallMs).toBeGreaterThanOrEqual(100);
    expect(lines[0]?.fields.inFlight).toEqual(['infer rec/1', 'waiting request']);
    expect(lines[0]?.message).toContain('infer rec/1');
    expect(monitor.maxMs).toBeGreaterThanOrEqual(100);
    monitor.resetMax();
    expect(monitor.maxMs).toBe(0);
  });

  it('says so when nothing was in flight', async () => {
    const { monitor, lines, seen } = monitored(60);
    using _ = monitor;
    await new Promise((resolve) => setImmediate(resolve));
    block(150);
    await seen;
    expect(lines[0]?.fields.inFlight).toEqual([]);
    expect(lines[0]?.message).toContain('no job');
  });
});
