import type { TuningDoc, TuningStep } from '@warmlane/contracts';
import { keys, type Notice, Notices, TuningStore } from '@warmlane/redis';
import { describe, expect, it } from 'vitest';
import { useRedis } from './redis-client.fixture.js';

const fixture = useRedis();
const SCOPE = { environment: 'e'.repeat(64), modelDigest: 'd'.repeat(64) };
const SHAPE = 'x:float32[1,3,48,320]';

const doc = (over: Partial<TuningDoc> = {}): TuningDoc => ({
  ...SCOPE,
  model: 'rec',
  version: '1',
  shapeKey: SHAPE,
  basis: 'b1',
  provider: 'cpu',
  device: 'cpu',
  state: 'searching',
  chosen: null,
  candidates: [],
  worker: 'host-cpu-0',
  updatedAt: '2026-01-01T00:00:00.000Z',
  ...over,
});
const step = (over: Partial<TuningStep> = {}): TuningStep => ({
  worker: 'host-cpu-0',
  candidate: 'threads-1',
  shapeKey: SHAPE,
  deaths: 0,
  since: '2026-01-01T00:00:00.000Z',
  ...over,
});

describe('TuningStore', () => {
  const store = (): TuningStore => new TuningStore(fixture.redis);

  it('keeps a tuning by environment, model, settings and shape, 90 days from its last use', async () => {
    expect(await store().put(doc(), 'a')).toBe(true);
    expect(await store().put(doc({ basis: 'b2', state: 'done', chosen: 'threads-1' }), 'a')).toBe(true);
    expect(await store().get(doc())).toEqual(doc());
    expect(await store().get({ ...doc(), environment: 'other' })).toBeNull();
    expect((await store().list()).map(({ basis }) => basis)).toEqual(['b1', 'b2']);
    const key = keys.tuning(SCOPE.environment, SCOPE.modelDigest, 'b1', SHAPE);
    await fixture.redis.pexpire(key, 5_000);
    await store().touch(doc());
    expect(await fixture.redis.pttl(key)).toBeGreaterThan(89 * 24 * 3_600_000);
    await fixture.redis.del(key);
    expect((await store().list()).map(({ basis }) => basis)).toEqual(['b2']);
    expect(await fixture.redis.scard(keys.tunings())).toBe(1);
  });

  it('lets one worker at a time measure a model in an environment, until it dies', async () => {
    const claims = await Promise.all(Array.from({ length: 10 }, (_, n) => store().claim(SCOPE, `worker-${n}`)));
    expect(claims.filter(Boolean)).toHaveLength(1);
    const holder = `worker-${claims.indexOf(true)}`;
    expect(await store().claim(SCOPE, holder)).toBe(true);
    expect(await store().claim({ ...SCOPE, environment: 'another GPU' }, 'worker-x')).toBe(true);
    expect(await store().release(SCOPE, 'worker-x')).toBe(false);
    const claim = keys.tuningClaim(SCOPE.environment, SCOPE.modelDigest);
    expect(await fixture.redis.pttl(claim)).toBeLessThanOrEqual(15_000);
    // What the time to live does once its holder is dead.
    await fixture.redis.del(claim);
    expect(await store().claim(SCOPE, 'worker-x')).toBe(true);
    expect(await store().release(SCOPE, 'worker-x')).toBe(true);
  });

  it('refuses what a worker writes that has lost its claim', async () => {
    await store().claim(SCOPE, 'new');
    expect(await store().put(doc(), 'old')).toBe(false);
    expect(await store().putStep(SCOPE, 'old', step())).toBe(false);
    expect(await store().get(doc())).toBeNull();
    expect(await store().put(doc(), 'new')).toBe(true);
    await store().release(SCOPE, 'new');
    // Nobody measures: a worker whose lane failed may take the choice back.
    expect(await store().put(doc({ state: 'done' }), 'other')).toBe(true);
    expect(await store().putStep(SCOPE, 'new', step())).toBe(false);
  });

  it('has the trial that was under way when its worker died', async () => {
    await store().claim(SCOPE, 'a');
    expect(await store().putStep(SCOPE, 'a', step())).toBe(true);
    expect(await store().getStep(SCOPE)).toEqual(step());
    await store().putStep(SCOPE, 'a', null);
    expect(await store().getStep(SCOPE)).toBeNull();
  });

  it('announces what was chosen, once it is', async () => {
    const notices = new Notices(fixture.connect('listener'));
    const seen: Notice[] = [];
    const heard = new Promise<void>((resolve) => {
      void notices
        .subscribe((notice) => {
          seen.push(notice);
          resolve();
        })
        .then(async () => {
          await store().put(doc(), 'a');
          await store().put(doc({ state: 'done', chosen: 'ort-defaults' }), 'a');
        });
    });
    await heard;
    expect(seen).toEqual([{ kind: 'tuning', model: 'rec', version: '1', shapeKey: SHAPE }]);
    notices.close();
  });
});
