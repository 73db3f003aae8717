import { once } from 'node:events';
import { checkRedis, createRedis, type Notice, Notices, Outage, RedisClock, redactUrl } from '@warmlane/redis';
import { startRedis } from '@warmlane/testing';
import { describe, expect, it, vi } from 'vitest';
import { useRedis } from './redis-client.fixture.js';

const fixture = useRedis({ persistence: 'aof' });
const logger = () => ({ info: vi.fn(), warn: vi.fn(), error: vi.fn() });

describe('createRedis', () => {
  it('refuses what is not a Redis URL, without telling its password', () => {
    expect(() => createRedis('localhost:6379', { name: 't' })).toThrow(/redis:\/\/HOST:PORT|not a Redis URL/);
    expect(() => createRedis('http://u:secret@h', { name: 't' })).toThrow("'http://u:***@h' is not a Redis URL");
    expect(redactUrl('rediss://:secret@h:1/2')).toBe('rediss://:***@h:1/2');
  });

  it('logs one line per outage, answers commands that waited, and says for how long it was away', async () => {
    const log = logger();
    const redis = createRedis(fixture.server.url, { name: 'watched', logger: log });
    await redis.ping();
    const outage = Outage.of(redis);
    const before = outage.lastReconnectAt;
    expect(outage.connected).toBe(true);
    await fixture.server.kill();
    await vi.waitFor(() => expect(outage.connected).toBe(false));
    const waiting = Array.from({ length: 50 }, () => redis.incr('n'));
    await fixture.server.restart();
    await Promise.all(waiting);
    expect(outage.connected).toBe(true);
    expect(outage.lastReconnectAt).toBeGreaterThan(before);
    expect(log.warn).toHaveBeenCalledTimes(1);
    expect(log.info).toHaveBeenCalledTimes(1);
    redis.disconnect();
    await vi.waitFor(() => expect(outage.connected).toBe(false));
    expect(log.warn).toHaveBeenCalledTimes(1);
  });

  it('sends what one turn asks for in one write, in its order, also on a new connection', async () => {
    const redis = fixture.connect('turns');
    await redis.ping();
    for (const reconnect of [false, true]) {
      if (reconnect) {
        const ready = once(redis, 'ready');
        redis.disconnect(true);
        await ready;
      }
      const writes = vi.spyOn(redis.stream, 'uncork');
      const values = await Promise.all([
        ...Array.from({ length: 20 }, () => redis.incr('turn')),
        Promise.resolve().then(() => redis.incr('turn')),
      ]);
      expect(values).toEqual(Array.from({ length: 21 }, (_, n) => n + 1));
      expect(writes).toHaveBeenCalledTimes(1);
      await redis.del('turn');
    }
  });

  it('says once that a Redis is away which was never there', async () => {
    const server = await startRedis();
    const { url } = server;
    await server.stop();
    const log = logger();
    const redis = createRedis(url, { name: 'early', logger: log });
    await new Promise<void>((resolve) => Outage.of(redis).once('down', () => resolve()));
    let errors = 0;
    await new Promise<void>((resolve) => redis.on('error', () => ++errors === 3 && resolve()));
    expect(log.warn).toHaveBeenCalledTimes(1);
    redis.disconnect();
  });
});

describe('checkRedis', () => {
  it('tells version and settings, and warns where keys may be evicted', async () => {
    const log = logger();
    expect(await checkRedis(fixture.redis, log)).toMatchObject({ maxmemoryPolicy: 'noeviction', aofEnabled: true });
    expect(log.warn).not.toHaveBeenCalled();
    await fixture.redis.config('SET', 'maxmemory-policy', 'allkeys-lru');
    await checkRedis(fixture.redis, log);
    expect(log.warn).toHaveBeenCalledWith({ maxmemoryPolicy: 'allkeys-lru' }, expect.stringMatching(/noeviction/));
    await fixture.redis.config('SET', 'maxmemory-policy', 'noeviction');
  });

  it('refuses a Cluster node', async () => {
    await using server = await startRedis({ args: ['--cluster-enabled', 'yes'] });
    const redis = createRedis(server.url, { name: 'cluster' });
    await expect(checkRedis(redis)).rejects.toMatchObject({
      code: 'not-supported',
      hint: expect.stringMatching(/Sentinel/),
    });
    redis.disconnect();
  });
});

describe('RedisClock', () => {
  it('tells the time of Redis to a few ms, also after a restart', async () => {
    const clock = new RedisClock(fixture.redis);
    expect(() => clock.now()).toThrow(/not told its time/);
    await clock.sync();
    const compare = async (): Promise<void> => {
      const [before, [seconds, micros], after] = [clock.now(), await fixture.redis.time(), clock.now()];
      const redisMs = Number(seconds) * 1_000 + Number(micros) / 1_000;
      expect(redisMs).toBeGreaterThan(before - 20);
      expect(redisMs).toBeLessThan(after + 20);
    };
    await compare();
    await fixture.server.kill();
    await fixture.server.restart();
    await clock.sync();
    await compare();
    clock.close();
  });
});

describe('Notices', () => {
  it('reach every subscriber, drop what is not one, and go on after an outage', async () => {
    const one = new Notices(fixture.redis);
    const two = new Notices(fixture.redis);
    const heard: Notice[] = [];
    await one.subscribe((notice) => heard.push(notice));
    const stop = await two.subscribe((notice) => heard.push(notice));
    const resync = vi.fn();
    one.onResync(resync);
    await fixture.redis.publish('{wl}:notices', 'not json');
    await one.publish({ kind: 'warmup', warmup: 'a' });
    await vi.waitFor(() => expect(heard).toHaveLength(2));
    stop();
    await fixture.server.kill();
    await fixture.server.restart();
    await vi.waitFor(() => expect(resync).toHaveBeenCalled(), { timeout: 10_000 });
    await two.publish({ kind: 'worker', worker: 'w' });
    await vi.waitFor(() => expect(heard).toHaveLength(3));
    expect(heard.at(-1)).toEqual({ kind: 'worker', worker: 'w' });
    one.close();
    two.close();
  });
});
