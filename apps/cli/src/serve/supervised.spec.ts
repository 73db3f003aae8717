import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { ProcessEnd } from '@warmlane/process';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { RunningProcess } from './app-process.js';
import { Supervised } from './supervised.js';

const started: ChildProcess[] = [];
function run(source: string): RunningProcess {
  const child = spawn(process.execPath, ['-e', source], { stdio: ['ignore', 'pipe', 'inherit'] });
  started.push(child);
  const ended = new Promise<ProcessEnd>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  return { pid: child.pid ?? 0, ended, signal: (signal) => void child.kill(signal) };
}
/** Resolves when the n-th started process has printed something: it is past its start-up. */
async function printed(n: number): Promise<ChildProcess> {
  const child = await vi.waitUntil(() => started[n], { timeout: 10_000 });
  await once(child.stdout ?? child, 'data');
  return child;
}

afterEach(() => {
  for (const child of started.splice(0)) {
    child.kill('SIGKILL');
  }
});

const WAITS = "process.on('SIGTERM', () => process.exit(0)); setInterval(() => {}, 1000); console.log('up')";
const DEAF = "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); console.log('up')";

describe('Supervised', () => {
  it('starts again what ended by itself, and not what it stopped', async () => {
    const lines: string[] = [];
    const supervised = new Supervised({
      name: 'thing',
      start: () => run(WAITS),
      log: (text) => lines.push(text),
      onHopeless: () => undefined,
    });
    supervised.start();
    (await printed(0)).kill('SIGKILL');
    await printed(1);
    expect(lines).toEqual(['thing ended (SIGKILL), starts again in 0.2 s']);
    await supervised.stop(5_000);
    expect(supervised.isRunning).toBe(false);
    expect(started.map((child) => child.signalCode ?? child.exitCode)).toEqual(['SIGKILL', 0]);
    expect(started).toHaveLength(2);
  });

  it('kills what does not end in time', async () => {
    const lines: string[] = [];
    const supervised = new Supervised({
      name: 'thing',
      start: () => run(DEAF),
      log: (text) => lines.push(text),
      onHopeless: () => undefined,
    });
    supervised.start();
    const child = await printed(0);
    await supervised.stop(100);
    expect(child.signalCode).toBe('SIGKILL');
    expect(lines).toEqual(['thing did not end within 0.1 s: killed']);
  });

  it('ends what was stopped by a signal, in order', async () => {
    const supervised = new Supervised({
      name: 'thing',
      start: () => run(WAITS),
      log: () => undefined,
      onHopeless: () => undefined,
    });
    supervised.start();
    const child = await printed(0);
    child.kill('SIGSTOP');
    supervised.resume();
    await supervised.stop(10_000);
    expect(child.exitCode).toBe(0);
  });

  it('leaves behind what SIGKILL does not end, and says so', async () => {
    const lines: string[] = [];
    const supervised = new Supervised({
      name: 'thing',
      start: () => ({ pid: 1, ended: new Promise(() => undefined), signal: () => undefined }),
      log: (text) => lines.push(text),
      onHopeless: () => undefined,
    });
    supervised.start();
    await vi.waitFor(() => expect(supervised.isRunning).toBe(true));
    await supervised.stop(10);
    expect(lines).toEqual([
      'thing did not end within 0 s: killed',
      'thing is still there after SIGKILL: left behind, end it by hand',
    ]);
  });

  it('gives up on settings that cannot work, and goes on after any other end', async () => {
    const hopeless = vi.fn();
    const codes = [1, 78];
    const supervised = new Supervised({
      name: 'thing',
      start: () => run(`process.exit(${codes.shift() ?? 0})`),
      log: () => undefined,
      onHopeless: hopeless,
    });
    supervised.start();
    await vi.waitFor(() => expect(hopeless).toHaveBeenCalledOnce(), { timeout: 10_000 });
    expect(hopeless.mock.calls[0]?.[0]).toContain('thing cannot run with these settings');
    expect(started).toHaveLength(2);
    await supervised.stop(1_000);
  });

  it('stops during the pause before a new start', async () => {
    const lines: string[] = [];
    const supervised = new Supervised({
      name: 'thing',
      start: () => Promise.reject(new Error('no such program')),
      log: (text) => lines.push(text),
      onHopeless: () => undefined,
    });
    supervised.start();
    await vi.waitFor(() => expect(lines).toContain('thing did not start: no such program, starts again in 0.4 s'));
    await supervised.stop(1_000);
    expect(supervised.isRunning).toBe(false);
  });
});
