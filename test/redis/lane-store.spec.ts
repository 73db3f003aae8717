import { keys, LaneStore, Notices, WorkerStore } from '@warmlane/redis';
import { describe, expect, it, vi } from 'vitest';
import { laneDoc, RECORD, readyDoc, X, Y } from './documents.fixture.js';
import { useRedis } from './redis-client.fixture.js';

const CLASS = 'x:float32[b,3,48,320]';
const fixture = useRedis();
const store = (): LaneStore => new LaneStore(fixture.redis);
const workers = (): WorkerStore => new WorkerStore(fixture.redis);
const holders = async (): Promise<string[]> => (await fixture.redis.smembers(keys.holders('rec', '1', CLASS))).sort();

describe('LaneStore', () => {
  it('gives back what was written, filtered', async () => {
    await workers().nextEpoch('w-0');
    const one = laneDoc();
    const two = laneDoc({ shapeKey: Y, state: 'VERIFYING', record: RECORD });
    const other = laneDoc({ model: 'det', worker: 'w-1' });
    for (const doc of [one, two, other]) expect(await store().put(doc)).toBe(true);
    expect(await store().get(two.id)).toEqual(two);
    expect(await store().get('unknown')).toBeNull();
    expect(await store().list()).toHaveLength(3);
    expect(await store().list({ model: 'rec', shapeKey: X })).toEqual([one]);
    expect(await store().list({ state: 'VERIFYING' })).toEqual([two]);
    expect(await store().ofWorker('w-1')).toEqual([other]);
    expect(await store().list({ worker: 'w-1', model: 'rec' })).toEqual([]);
  });

  it('a writer of an older epoch loses, whatever it writes', async () => {
    await workers().nextEpoch('w-0');
    const doc = readyDoc();
    expect(await store().ready(doc, CLASS)).toBe(true);
    expect(await workers().nextEpoch('w-0')).toBe(2);
    const late = { ...doc, reason: 'late' };
    expect(await store().put(late)).toBe(false);
    expect(await store().ready(late, CLASS)).toBe(false);
    expect(await store().leave({ ...late, state: 'DRAINING' }, CLASS)).toBe(false);
    expect(await store().get(doc.id)).toEqual(doc);
    expect(await holders()).toEqual([]);
    expect(await store().ready({ ...doc, epoch: 2 }, CLASS)).toBe(true);
    expect(await holders()).toEqual([`w-0:2:${doc.id}`]);
  });

  it('two lanes of one class on one worker leave one by one', async () => {
    const one = readyDoc();
    const two = readyDoc({ shapeKey: Y });
    await store().ready(one, CLASS);
    await store().ready(two, CLASS);
    await store().leave({ ...one, state: 'EVICTED' }, CLASS);
    expect(await holders()).toEqual([`w-0:1:${two.id}`]);
    expect(await store().get(one.id)).toMatchObject({ state: 'EVICTED' });
  });

  it('keeps lanes that ended for 24 h, and living ones without limit', async () => {
    const doc = readyDoc();
    await store().ready(doc, CLASS);
    expect(await fixture.redis.pttl(keys.lane(doc.id))).toBe(-1);
    await store().leave({ ...doc, state: 'EVICTED' }, CLASS);
    const ttl = await fixture.redis.pttl(keys.lane(doc.id));
    expect(ttl).toBeGreaterThan(86_300_000);
    expect(ttl).toBeLessThanOrEqual(86_400_000);
    await store().put({ ...doc, state: 'QUEUED' });
    expect(await fixture.redis.pttl(keys.lane(doc.id))).toBe(-1);
  });

  it('an expired lane leaves the indexes when it is looked for', async () => {
    const doc = laneDoc();
    await store().put(doc);
    await fixture.redis.del(keys.lane(doc.id));
    expect(await store().list()).toEqual([]);
    expect(await store().ofWorker('w-0')).toEqual([]);
    expect(await fixture.redis.exists(keys.lanes(), keys.workerLanes('w-0'))).toBe(0);
  });

  it('forgets a lane with its place among the holders', async () => {
    const doc = readyDoc();
    await store().ready(doc, CLASS);
    expect(await store().remove(doc.id)).toBe(true);
    expect(await store().remove(doc.id)).toBe(false);
    expect(await holders()).toEqual([]);
    expect(await store().list()).toEqual([]);
  });

  it('marks the lanes of a gone worker STALE, but never those of one that returned', async () => {
    const doc = readyDoc();
    const ended = laneDoc({ state: 'FAILED', reason: 'no fit' });
    await store().ready(doc, CLASS);
    await store().put(ended);
    expect(await store().markStale('w-0', 'worker gone')).toEqual([]);
    expect(await holders()).toHaveLength(1);

    await fixture.redis.del(keys.alive('w-0'), keys.present('w-0'));
    const marked = await store().markStale('w-0', 'worker gone');
    expect(marked).toMatchObject([{ id: doc.id, state: 'STALE', reason: 'worker gone', trigger: 'worker-gone' }]);
    expect(await holders()).toEqual([]);
    expect(await store().get(ended.id)).toEqual(ended);
    expect(await store().markStale('w-0', 'worker gone')).toEqual([]);

    expect(await store().ready(doc, CLASS)).toBe(true);
    expect(await holders()).toHaveLength(1);
  });

  it('heals the fence where Redis forgot it: the worker knows its own epoch', async () => {
    expect(await store().put(laneDoc({ epoch: 5 }))).toBe(true);
    expect(await store().put(laneDoc({ epoch: 4 }))).toBe(false);
  });

  it('hands each verification request out once', async () => {
    await store().requestVerify('l1', 'w-0');
    await store().requestVerify('l1', 'w-0');
    await store().requestVerify('l2', 'w-0');
    const taken = await Promise.all([store().takeVerifyRequests('w-0'), store().takeVerifyRequests('w-0')]);
    expect(taken.flat().sort()).toEqual(['l1', 'l2']);
    expect(await store().takeVerifyRequests('w-0')).toEqual([]);
  });

  it('tells of every change and of the class whose holders changed', async () => {
    const notices = new Notices(fixture.redis);
    const heard: unknown[] = [];
    await notices.subscribe((notice) => heard.push(notice));
    const doc = readyDoc();
    await store().put({ ...doc, state: 'VERIFYING' });
    await store().ready(doc, CLASS);
    await vi.waitFor(() => expect(heard).toHaveLength(2));
    expect(heard).toMatchObject([
      { kind: 'lane', lane: doc.id, state: 'VERIFYING', class: null },
      { kind: 'lane', lane: doc.id, state: 'READY', class: CLASS },
    ]);
    notices.close();
  });
});
