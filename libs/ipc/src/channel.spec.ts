import { existsSync, readFileSync } from 'node:fs';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { CallTimeout, ChannelClosed } from './channel.js';
import { type Child, spawnChild } from './spawn-child.js';

interface Methods {
  echo: { params: unknown; result: unknown };
  sum: { params: { data: Uint8Array }; result: number };
  later: { params: unknown; result: unknown };
  fail: { params: { code: string }; result: null };
  throw: { params: null; result: null };
  wait: { params: null; result: null };
  block: { params: null; result: null };
  garbage: { params: null; result: null };
  exit: { params: { code: number }; result: null };
  grandchild: { params: null; result: number };
  missing: { params: null; result: null };
}
interface Events {
  hello: { pid: number };
  waiting: null;
  gaveUp: null;
}

const children: Child<Methods, Events>[] = [];
function start(role = 'echo'): Child<Methods, Events> {
  const child = spawnChild<Methods, Events>({
    entry: new URL('../fixtures/child.mjs', import.meta.url),
    role,
    env: {},
  });
  children.push(child);
  return child;
}
const event = (child: Child<Methods, Events>, name: keyof Events & string): Promise<unknown> =>
  new Promise((resolve) => child.channel.on(name, resolve));
const alive = (pid: number): boolean =>
  existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));

afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill('SIGKILL');
    await child.exited;
  }
});

describe('a channel to a child process', () => {
  it('carries values and bytes both ways, from sync and async handlers', async () => {
    const { channel, pid } = start('reference');
    const big = new Uint8Array(10_000_000).map((_, at) => at % 251);
    for (const method of ['echo', 'later'] as const) {
      const answer = await channel.call(method, { list: [{ name: 'x', data: big }], text: 'é', nothing: null });
      const { list, ...rest } = answer as { list: { name: string; data: Uint8Array }[] };
      expect(rest).toEqual({ text: 'é', nothing: null });
      expect(Buffer.from(list[0]?.data ?? []).equals(big)).toBe(true);
    }
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toContain('warmlane reference');
  });

  it('keeps calls apart that are in flight together', async () => {
    const { channel } = start();
    const numbers = Array.from({ length: 200 }, (_, at) => at);
    const answers = await Promise.all(numbers.map((n) => channel.call(n % 2 === 0 ? 'later' : 'echo', n)));
    expect(answers).toEqual(numbers);
  });

  it('reads every call right where the memory of calls is used again', async () => {
    const { channel } = start();
    const sizes = [300_000, 70_000, 0, 500_000, 100, 70_000, 400_000, 500_000];
    const call = (size: number, at: number): Promise<number> =>
      channel.call('sum', { data: new Uint8Array(size).fill(at + 1) });
    expect(await Promise.all(sizes.map(call))).toEqual(sizes.map((size, at) => size * (at + 1)));
    for (const [at, size] of sizes.entries()) expect(await call(size, at)).toBe(size * (at + 1));
  });

  it('carries errors with code and hint; others become internal', async () => {
    const { channel } = start();
    await expect(channel.call('fail', { code: 'device-busy' })).rejects.toMatchObject({
      code: 'device-busy',
      hint: 'Do something else.',
      retryable: true,
    });
    await expect(channel.call('throw', null)).rejects.toMatchObject({ code: 'internal', message: 'plain' });
    await expect(channel.call('missing', null)).rejects.toMatchObject({ code: 'not-supported' });
  });

  it('gives up at the limit and tells the handler', async () => {
    const child = start();
    const gaveUp = event(child, 'gaveUp');
    await expect(child.channel.call('wait', null, { timeoutMs: 50 })).rejects.toBeInstanceOf(CallTimeout);
    await gaveUp;
    expect(child.channel.inFlight).toBe(0);
  });

  it('gives up when the signal aborts', async () => {
    const child = start();
    const abort = new AbortController();
    const call = child.channel.call('wait', null, { signal: abort.signal });
    const rejected = expect(call).rejects.toMatchObject({ code: 'canceled' });
    await event(child, 'waiting');
    const gaveUp = event(child, 'gaveUp');
    abort.abort();
    await Promise.all([rejected, gaveUp]);
    await expect(child.channel.call('echo', 1, { signal: abort.signal })).rejects.toMatchObject({ code: 'canceled' });
  });

  it('rejects what is in flight when the child is killed, and what comes after', async () => {
    const child = start();
    const call = child.channel.call('wait', null);
    const rejected = expect(call).rejects.toBeInstanceOf(ChannelClosed);
    await event(child, 'waiting');
    child.kill('SIGKILL');
    await rejected;
    await expect(child.channel.call('echo', 1)).rejects.toBeInstanceOf(ChannelClosed);
    expect(await child.exited).toEqual({ code: null, signal: 'SIGKILL' });
  });

  it('is closed by garbage, and this process lives on', async () => {
    const { channel } = start();
    await expect(channel.call('garbage', null)).rejects.toThrow('header bytes');
    expect(channel.closed).toBeInstanceOf(ChannelClosed);
  });

  it('lets the child exit by itself, lifeline and all', async () => {
    const child = start();
    await child.channel.call('exit', { code: 7 });
    expect(await child.exited).toEqual({ code: 7, signal: null });
  });

  it('refuses a second handler of one method', () => {
    const { channel } = start();
    channel.handle('echo', (value) => value);
    expect(() => channel.handle('echo', (value) => value)).toThrow('handler already');
  });

  it('closes where the program cannot be started', async () => {
    const child = spawnChild({ entry: '/nonexistent.js', role: 'echo', env: {} });
    expect((await child.exited).code).toBe(1);
    await vi.waitFor(() => expect(child.channel.closed).not.toBeNull());
  });
});

describe('the lifeline', () => {
  it('kills a child that sits in a blocking call when its parent is killed', async () => {
    const parent = start('parent');
    const grandchild = await parent.channel.call('grandchild', null);
    expect(alive(grandchild)).toBe(true);
    parent.kill('SIGKILL');
    await parent.exited;
    await vi.waitFor(() => expect(alive(grandchild)).toBe(false), { timeout: 5000 });
  });

  it('keeps the child out of the process group of its parent', async () => {
    const child = start();
    await event(child, 'hello');
    const group = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[2];
    expect(Number(group)).toBe(child.pid);
  });
});

it('an empty call takes well under a millisecond', async () => {
  const { channel } = start();
  for (let n = 0; n < 500; n++) await channel.call('echo', null);
  const times: number[] = [];
  for (let n = 0; n < 2000; n++) {
    const begun = performance.now();
    await channel.call('echo', null);
    times.push(performance.now() - begun);
  }
  times.sort((a, b) => a - b);
  expect(times[1000]).toBeLessThan(1);
});
