import { Duplex, PassThrough } from 'node:stream';
import { Channel, type Child, type ChildExit } from '@warmlane/ipc';
import { expect, it, vi } from 'vitest';
import { RuntimeDied } from './process-errors.js';
import { type ChildEvents, ProcessLife } from './process-life.js';

interface Methods {
  work: { params: null; result: number };
  close: { params: null; result: null };
}

/** A process that the kernel does not end, which cannot be started on purpose; and one that ends when told to. */
function standInChild(): {
  child: Child<Methods, ChildEvents<string>>;
  peer: Channel<Methods, ChildEvents<string>>;
  end: (exit: ChildExit) => void;
  signals: string[];
} {
  const [up, down] = [new PassThrough(), new PassThrough()];
  const here = Duplex.from({ readable: up, writable: down });
  const there = Duplex.from({ readable: down, writable: up });
  let end: (exit: ChildExit) => void = () => undefined;
  const exited = new Promise<ChildExit>((resolve) => {
    end = resolve;
  });
  const signals: string[] = [];
  const peer = new Channel<Methods, ChildEvents<string>>(there);
  const channel = new Channel<Methods, ChildEvents<string>>(here);
  return { child: { pid: 1, channel, exited, kill: (signal) => signals.push(signal) }, peer, end, signals };
}
const options = {
  name: 'runtime',
  helloTimeoutMs: 5000,
  killTimeoutMs: 30,
  blocks: (method: string) => method === 'work',
};

it('a process that SIGKILL does not end is lost, and its calls end with that', async () => {
  const { child, peer, signals } = standInChild();
  const life = new ProcessLife(child, options);
  peer.emit('hello', 'here');
  expect(await life.hello).toBe('here');
  const call = life.call('work', null, { timeoutMs: 20 });
  peer.handle('work', () => new Promise<number>(() => undefined));
  const error: unknown = await call.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(RuntimeDied);
  expect(error).toMatchObject({ external: false, message: expect.stringContaining('the device is lost') });
  await life.lost;
  expect(signals).toEqual(['SIGKILL']);
});

it('a process killed from outside is not taken for one that closed its channel', async () => {
  const { child, peer, end } = standInChild();
  const life = new ProcessLife(child, options);
  peer.emit('hello', 'here');
  await life.hello;
  const call = life.call('work', null, { timeoutMs: 5000 });
  peer.close();
  end({ code: null, signal: 'SIGKILL' });
  await expect(call).rejects.toMatchObject({ external: true, message: expect.stringContaining('from outside') });
});

it('a process that says no hello is killed', async () => {
  const silent = standInChild();
  const life = new ProcessLife(silent.child, { ...options, helloTimeoutMs: 10, killTimeoutMs: 5000 });
  const failed = expect(life.hello).rejects.toMatchObject({
    message: expect.stringContaining('no hello within 10 ms'),
  });
  const watch = setInterval(() => {
    if (silent.signals.length > 0) silent.end({ code: null, signal: 'SIGKILL' });
  }, 1);
  await failed;
  clearInterval(watch);
  expect(await life.death).toMatchObject({ external: false });
});

it('an orderly end is a planned death, whatever its limit', async () => {
  const { child, peer, end, signals } = standInChild();
  const life = new ProcessLife(child, options);
  peer.emit('hello', 'here');
  peer.handle('close', () => {
    setImmediate(() => end({ code: 0, signal: null }));
    return null;
  });
  await life.hello;
  await life.close('close', null, 5000);
  expect(await life.death).toMatchObject({ planned: true, code: 0, external: false });
  expect(signals).toEqual([]);
});

it.each([
  ['a request was being run', true, false, true],
  ['a request was canceled before', true, true, false],
  ['only a step was under way', false, false, false],
])('says of a death whether %s', async (_, serves, canceled, serving) => {
  const { child, peer, end } = standInChild();
  const life = new ProcessLife(child, options);
  peer.emit('hello', 'here');
  await life.hello;
  peer.handle('work', () => new Promise<number>(() => undefined));
  const leaving = new AbortController();
  const request = life.call('work', null, { timeoutMs: 5000, serves, signal: leaving.signal });
  const step = life.call('work', null, { timeoutMs: 5000 });
  if (canceled) {
    leaving.abort();
    await expect(request).rejects.toMatchObject({ code: 'canceled' });
  }
  const died = Promise.allSettled([request, step]);
  peer.close();
  end({ code: null, signal: 'SIGFPE' });
  expect(await life.death).toMatchObject({ signal: 'SIGFPE', external: false, serving });
  const [, ofStep] = await died;
  expect(ofStep).toMatchObject({ reason: { death: { serving } } });
});

it.each([
  ['request', true],
  ['step', false],
])('charges a death by the watchdog to the %s that was not answered', async (_, serves) => {
  const { child, peer, signals, end } = standInChild();
  const life = new ProcessLife(child, { ...options, killTimeoutMs: 5000, blocks: () => false });
  peer.emit('hello', 'here');
  await life.hello;
  peer.handle('work', () => new Promise<number>(() => undefined));
  const hanging = life.call('work', null, { timeoutMs: 20, serves });
  const other = life.call('work', null, { timeoutMs: 5000, serves: !serves });
  const died = Promise.allSettled([hanging, other]);
  await vi.waitFor(() => expect(signals).toEqual(['SIGKILL']));
  peer.close();
  end({ code: null, signal: 'SIGKILL' });
  expect(await life.death).toMatchObject({ external: false, serving: serves });
  await died;
});

it('a call behind one that blocks is not judged before that one is answered', async () => {
  const { child, peer, signals } = standInChild();
  const life = new ProcessLife(child, options);
  peer.emit('hello', 'here');
  await life.hello;
  const answers: ((value: number) => void)[] = [];
  peer.handle('work', () => new Promise<number>((resolve) => answers.push(resolve)));
  const calls = [5000, 20, 20].map((timeoutMs) => life.call('work', null, { timeoutMs }));
  await new Promise((resolve) => setTimeout(resolve, 60));
  expect(signals).toEqual([]);
  for (const [at, call] of calls.entries()) {
    answers[at]?.(at);
    expect(await call).toBe(at);
  }
  const hanging = expect(life.call('work', null, { timeoutMs: 20 })).rejects.toBeInstanceOf(RuntimeDied);
  const behind = expect(life.call('work', null, { timeoutMs: 5000 })).rejects.toBeInstanceOf(RuntimeDied);
  await Promise.all([hanging, behind]);
  expect(signals).toEqual(['SIGKILL']);
});
