import { ClassStore, classQueueName, keys, LaneStore, PREFIX, WorkerStore } from '@warmlane/redis';
import { Queue } from 'bullmq';
import { describe, expect, it } from 'vitest';
import { readyDoc, X, Y } from './documents.fixture.js';
import { useRedis } from './redis-client.fixture.js';

const CLASS = X;

describe('ClassStore', () => {
  const fixture = useRedis();

  it('knows every class that a lane was READY for, and forgets it with all of its queue', async () => {
    const { redis } = fixture;
    const classes = new ClassStore(redis);
    const lanes = new LaneStore(redis);
    const epoch = await new WorkerStore(redis).nextEpoch('w-0');
    const doc = readyDoc({ epoch });
    await lanes.ready(doc, CLASS);
    await classes.setPadding('rec', '1', CLASS, 'rules');
    await classes.setPadding('rec', '1', Y, 'others');
    expect(await classes.paddings('rec', '1')).toEqual({ [CLASS]: 'rules', [Y]: 'others' });
    expect(await classes.list('rec', '1')).toEqual([CLASS]);

    const queue = new Queue(classQueueName('rec', '1', CLASS), { connection: redis, prefix: PREFIX });
    await queue.add('infer', {});
    await queue.add('infer', {}, { priority: 5 });
    expect(await classes.look('rec', '1', [CLASS, Y])).toEqual([
      { jobs: 2, holders: [{ worker: 'w-0', epoch }] },
      { jobs: 0, holders: [] },
    ]);
    expect(await classes.drop('rec', '1', CLASS)).toBe(false);
    await lanes.leave({ ...doc, state: 'EVICTED' }, CLASS);
    expect(await classes.drop('rec', '1', CLASS)).toBe(false);

    await queue.drain();
    expect(await classes.drop('rec', '1', CLASS)).toBe(true);
    await queue.close();
    expect(await classes.list('rec', '1')).toEqual([]);
    expect(await redis.hgetall(keys.padding('rec', '1'))).toEqual({ [Y]: 'others' });
    await classes.setPadding('rec', '1', Y, null);
    expect(await classes.paddings('rec', '1')).toEqual({});
    expect(await redis.keys(`${PREFIX}:run.*`)).toEqual([]);
  });

  it('keeps a class that has a holder', async () => {
    const { redis } = fixture;
    const classes = new ClassStore(redis);
    const epoch = await new WorkerStore(redis).nextEpoch('w-0');
    await new LaneStore(redis).ready(readyDoc({ epoch }), CLASS);
    expect(await classes.drop('rec', '1', CLASS)).toBe(false);
    expect(await redis.exists(keys.holders('rec', '1', CLASS))).toBe(1);
  });
});
