import { HEARTBEAT_EVERY_MS, keys, WorkerStore } from '@warmlane/redis';
import { describe, expect, it, vi } from 'vitest';
import { workerDoc, X } from './documents.fixture.js';
import { useRedis } from './redis-client.fixture.js';

const fixture = useRedis();
const store = (): WorkerStore => new WorkerStore(fixture.redis);

describe('WorkerStore', () => {
  it('gives processes that start at once different ids, without gaps', async () => {
    const beats: NodeJS.Timeout[] = [];
    const start = async (token: string): Promise<string> => {
      const id = await store().claim('h-cpu', token);
      beats.push(setInterval(() => void store().heartbeat(id, 1, token), HEARTBEAT_EVERY_MS));
      return id;
    };
    const ids = await Promise.all(Array.from({ length: 8 }, (_, n) => start(`token-${n}`)));
    for (const beat of beats) clearInterval(beat);
    expect(ids.sort()).toEqual(Array.from({ length: 8 }, (_, n) => `h-cpu-${n}`));
  });

  it('gives a process that starts again the id of the one that died', async () => {
    expect(await store().claim('h-cpu', 'old')).toBe('h-cpu-0');
    // The old process beats no more: its slot falls free 1 s later, and is waited for.
    expect(await store().claim('h-cpu', 'new')).toBe('h-cpu-0');
    expect(await store().heartbeat('h-cpu-0', 1, 'old')).toBe('taken');
    expect(await store().heartbeat('h-cpu-0', 1, 'new')).toBe('beat');
    expect(await store().claim('h-cpu', 'new')).toBe('h-cpu-0');
  });

  it('refuses a slot name that could not stand in a queue name', async () => {
    await expect(store().claim('h:cpu', 't')).rejects.toThrow(/letters, digits/);
  });

  it('a heartbeat of an older epoch loses and leaves the keys alone', async () => {
    expect(await store().nextEpoch('w-0')).toBe(1);
    expect(await store().heartbeat('w-0', 1)).toBe('beat');
    expect(await fixture.redis.mget(keys.alive('w-0'), keys.present('w-0'))).toEqual(['1', '1']);
    expect(await store().nextEpoch('w-0')).toBe(2);
    // Readers see at once that epoch 1 is over.
    expect(await fixture.redis.get(keys.alive('w-0'))).toBe('2');
    expect(await fixture.redis.pttl(keys.alive('w-0'))).toBeGreaterThan(0);
    expect(await store().heartbeat('w-0', 1)).toBe('superseded');
    expect(await fixture.redis.get(keys.alive('w-0'))).toBe('2');
    expect(await store().epoch('w-0')).toBe(2);
  });

  it('counts on from the epoch that the worker knows where Redis forgot it', async () => {
    expect(await store().nextEpoch('w-0', 7)).toBe(8);
    expect(await store().nextEpoch('w-0', 3)).toBe(9);
  });

  it('a heartbeat ends by itself', async () => {
    await store().heartbeat('w-0', 1);
    expect(await fixture.redis.pttl(keys.alive('w-0'))).toBeLessThanOrEqual(1_000);
    await vi.waitFor(async () => expect(await fixture.redis.get(keys.alive('w-0'))).toBeNull(), { timeout: 3_000 });
    expect(await fixture.redis.get(keys.present('w-0'))).toBe('1');
  });

  it('gives back documents, refuses those of an older epoch, forgets expired ones', async () => {
    await store().nextEpoch('w-0');
    await store().nextEpoch('w-0');
    expect(await store().put(workerDoc({ epoch: 1 }))).toBe(false);
    expect(await store().put(workerDoc({ epoch: 2 }))).toBe(true);
    expect(await store().put(workerDoc({ id: 'w-1', epoch: 1 }), { notify: false })).toBe(true);
    expect((await store().list()).map((doc) => [doc.id, doc.epoch])).toEqual([
      ['w-0', 2],
      ['w-1', 1],
    ]);
    expect(await store().get('w-1')).toEqual(workerDoc({ id: 'w-1' }));
    await fixture.redis.del(keys.worker('w-1'));
    expect(await store().list()).toHaveLength(1);
    expect(await fixture.redis.smembers(keys.workers())).toEqual(['w-0']);
  });

  it('a worker that beats stays known while it has no document', async () => {
    await store().heartbeat('w-0', 1);
    expect(await store().list()).toEqual([]);
    expect(await fixture.redis.smembers(keys.workers())).toEqual(['w-0']);
  });

  it('a worker that closes does not take its successor along', async () => {
    const id = await store().claim('h', 'old');
    await store().heartbeat(id, 1, 'old');
    expect(await store().remove(id, 'new')).toBe(false);
    expect(await store().remove(id, 'old')).toBe(true);
    expect(await fixture.redis.exists(keys.slot(id), keys.alive(id), keys.present(id), keys.worker(id))).toBe(0);
    expect(await store().claim('h', 'new', 0)).toBe(id);
  });

  it('keeps the open step of each lane, which only the current epoch may write or clear', async () => {
    const step = {
      worker: 'w-0',
      epoch: 1,
      lane: 'l',
      model: 'rec',
      version: '1',
      shapeKey: X,
      step: 'capture' as const,
      since: '2026-01-01T00:00:00.000Z',
    };
    await store().nextEpoch('w-0');
    expect(await store().putStep(step)).toBe(true);
    await store().nextEpoch('w-0');
    expect(await store().clearStep(step)).toBe(false);
    expect(await store().getSteps('w-0')).toEqual([step]);
    expect(await store().putStep({ ...step, step: 'verify' })).toBe(false);
    const other = { ...step, epoch: 2, version: '2' };
    expect(await store().putStep(other)).toBe(true);
    expect(await store().clearStep({ ...step, epoch: 2 })).toBe(true);
    expect(await store().getSteps('w-0')).toEqual([other]);
    expect(await store().clearStep(other)).toBe(true);
    expect(await store().getSteps('w-0')).toEqual([]);
  });

  it('keeps a quarantine per environment, model and shape', async () => {
    const where = { environment: 'env', modelDigest: 'd', shapeKey: X };
    const entry = { reason: 'killed the runtime twice while capturing', at: '2026-01-01T00:00:00.000Z' };
    await store().setQuarantine(where, entry);
    expect(await store().getQuarantine(where)).toEqual(entry);
    expect(await store().getQuarantine({ ...where, environment: 'other' })).toBeNull();
    expect(await store().clearQuarantine(where)).toBe(true);
    expect(await store().clearQuarantine(where)).toBe(false);
  });
});
