import { BlobStore, keys, LaneStore, ModelStore, PlanStore, WarmupStore, WorkerStore } from '@warmlane/redis';
import { describe, expect, it } from 'vitest';
import { readyDoc, registration, workerDoc, X, Y } from './documents.fixture.js';
import { useRedis } from './redis-client.fixture.js';

const fixture = useRedis({ persistence: 'aof' });

describe('Redis is killed and starts again from its append-only file', () => {
  it('keeps models, plans, warm-ups, lanes, epochs and reservations, and old writers still lose', async () => {
    const { redis } = fixture;
    await redis.config('SET', 'appendfsync', 'always');
    const models = new ModelStore(redis);
    const plans = new PlanStore(redis);
    const warmups = new WarmupStore(redis);
    const lanes = new LaneStore(redis);
    const workers = new WorkerStore(redis);
    const blobs = new BlobStore(redis, redis, { limitBytes: 10 });
    await models.register(registration());
    await plans.setDeclared('rec', '1', [{ shapeKey: X, replicas: 1, priority: 5, required: true }]);
    await plans.hold('rec', '1', X, 'w-0');
    const request = {
      model: 'rec',
      version: '1',
      shapes: [Y],
      replicas: null,
      priority: 5,
      options: {},
      tune: false,
      deadlineMs: 600_000,
    };
    const { doc } = await warmups.create(request);
    await workers.nextEpoch('w-0');
    await workers.nextEpoch('w-0');
    const lane = readyDoc({ epoch: 2 });
    await lanes.ready(lane, X);
    await workers.put(workerDoc({ epoch: 2 }));
    const ref = await blobs.put(Buffer.from('0123456789'), 60_000);
    const read = () =>
      Promise.all([
        models.list(),
        plans.entries('rec', '1'),
        plans.revision('rec', '1'),
        warmups.get(doc.id),
        warmups.unfinished(),
        lanes.list(),
        workers.list(),
        redis.smembers(keys.holders('rec', '1', X)),
        blobs.get(ref),
      ]);
    const before = await read();

    await fixture.server.kill();
    await fixture.server.restart();

    expect(await read()).toEqual(before);
    expect((await warmups.create(request)).created).toBe(false);
    expect(await lanes.put({ ...lane, epoch: 1 })).toBe(false);
    expect(await workers.heartbeat('w-0', 1)).toBe('superseded');
    await expect(blobs.put(Buffer.from('1'), 60_000)).rejects.toMatchObject({ code: 'overloaded' });
  });
});
