import { desiredOf, keys, ModelStore, Notices, PlanStore } from '@warmlane/redis';
import { describe, expect, it, vi } from 'vitest';
import { registration, X } from './documents.fixture.js';
import { useRedis } from './redis-client.fixture.js';

const fixture = useRedis();
const store = (): ModelStore => new ModelStore(fixture.redis);

describe('ModelStore', () => {
  it('gives back what was registered', async () => {
    expect(await store().register(registration())).toBe(true);
    const doc = await store().get('rec', '1');
    expect(doc).toEqual({
      ...registration(),
      wasReady: false,
      retired: false,
      registeredAt: expect.stringMatching(/^\d{4}-.*Z$/),
    });
    expect(await store().list()).toEqual([doc]);
    expect(await store().get('rec', '2')).toBeNull();
    expect(await store().versions('nobody')).toEqual([]);
  });

  it('refuses other bytes under the same version and keeps what is registered', async () => {
    await store().register(registration());
    expect(await store().register(registration({ digest: 'b'.repeat(64), reason: 'other' }))).toBe(false);
    expect(await store().get('rec', '1')).toMatchObject({ digest: 'a'.repeat(64), reason: '' });
  });

  it('a version that failed before it could be read takes a digest later', async () => {
    await store().register(registration({ state: 'FAILED', reason: 'no such file', digest: null, metadata: null }));
    expect(await store().get('rec', '1')).toMatchObject({ state: 'FAILED', digest: null, metadata: null });
    expect(await store().register(registration())).toBe(true);
    expect(await store().get('rec', '1')).toMatchObject({ state: 'LOADED', digest: 'a'.repeat(64) });
  });

  it('another worker that starts or fails does not take a loaded version down', async () => {
    await store().register(registration());
    await store().markReady('rec', '1');
    await store().register(registration({ state: 'LOADING' }));
    await store().register(registration({ state: 'FAILED', reason: 'no space', digest: null, metadata: null }));
    expect(await store().get('rec', '1')).toMatchObject({
      state: 'LOADED',
      wasReady: true,
      metadata: { inputs: [{}] },
    });
  });

  it('changes state only from an expected one', async () => {
    await store().register(registration({ state: 'LOADING' }));
    expect(await store().setState('rec', '1', 'UNLOADED', 'asked', ['LOADED'])).toBe(false);
    expect(await store().setState('rec', '1', 'LOADED', '', ['LOADING'])).toBe(true);
    expect(await store().setState('rec', '1', 'UNLOADED', 'asked')).toBe(true);
    expect(await store().setState('rec', '9', 'LOADED', '')).toBe(false);
    expect(await store().get('rec', '1')).toMatchObject({ state: 'UNLOADED', reason: 'asked' });
  });

  it('serves the highest version that was ready once, by number', async () => {
    for (const version of ['2', '9', '10']) await store().register(registration({ version }));
    expect(await store().defaultVersion('rec')).toBe('10');
    expect(await store().markReady('rec', '2')).toBe(true);
    expect(await store().markReady('rec', '2')).toBe(false);
    expect(await store().defaultVersion('rec')).toBe('2');
    await store().markReady('rec', '9');
    expect(await store().defaultVersion('rec')).toBe('9');
    await store().setState('rec', '9', 'UNLOADED', '');
    expect(await store().defaultVersion('rec')).toBe('2');
    expect(await store().defaultVersion('other')).toBeNull();
  });

  it('a wish for a whole name replaces those for its versions', async () => {
    await store().setDesired('rec', '1', 'load');
    await store().setDesired('rec-2', '1', 'load');
    await store().setDesired('rec', null, 'unload');
    await store().setDesired('rec', '2', 'load');
    const wishes = await store().desired();
    expect(desiredOf(wishes, 'rec', '1')).toBe('unload');
    expect(desiredOf(wishes, 'rec', '2')).toBe('load');
    expect(desiredOf(wishes, 'rec-2', '1')).toBe('load');
    expect(desiredOf(wishes, 'other', '1')).toBeNull();
  });

  it('numbers wishes, and keeps what workers say about the newest', async () => {
    const first = await store().setDesired('rec', null, 'load');
    const second = await store().setDesired('rec', null, 'load');
    expect(second).toBeGreaterThan(first);
    expect(await store().desired()).toEqual([{ name: 'rec', version: null, desired: 'load', wish: second }]);
    expect(await store().answerLoad('rec', 'w-0', { wish: second, outcome: 'found' })).toBe(true);
    expect(await store().answerLoad('rec', 'w-0', { wish: second, outcome: 'done' })).toBe(true);
    // Late: said before, arrives after.
    expect(await store().answerLoad('rec', 'w-0', { wish: second, outcome: 'found' })).toBe(false);
    expect(await store().answerLoad('rec', 'w-0', { wish: first, outcome: 'done' })).toBe(false);
    expect(await store().answerLoad('rec', 'w-1', { wish: first, outcome: 'none' })).toBe(true);
    expect(await store().loadAnswers('rec')).toEqual(
      new Map([
        ['w-0', { wish: second, outcome: 'done' }],
        ['w-1', { wish: first, outcome: 'none' }],
      ]),
    );
    expect(await fixture.redis.pttl(keys.loadAnswers('rec'))).toBeGreaterThan(3_500_000);
  });

  it('gives a wish a number above the last even where the clock of Redis was set back', async () => {
    const future = 9_000_000_000_000_000;
    await fixture.redis.hset(keys.desired(), 'rec/', `unload ${future}`);
    expect(await store().setDesired('rec', null, 'load')).toBe(future + 1);
    expect(await store().setDesired('rec', '2', 'load')).toBe(future + 2);
  });

  it('forgets a version with everything about it', async () => {
    await store().register(registration());
    await store().setDesired('rec', '1', 'load');
    await new PlanStore(fixture.redis).setDeclared('rec', '1', [
      { shapeKey: X, replicas: 1, priority: 5, required: true },
    ]);
    expect(await store().remove('rec', '1')).toBe(true);
    expect(await store().remove('rec', '1')).toBe(false);
    expect(await fixture.redis.keys('*')).toEqual([]);
  });

  it('tells a document of another form by its key', async () => {
    await fixture.redis.hset(keys.model('rec', '1'), 'state', 'SOMETHING');
    await expect(store().get('rec', '1')).rejects.toThrow(/\{wl\}:model:rec:1/);
  });

  it('tells of its changes', async () => {
    const notices = new Notices(fixture.redis);
    const heard: unknown[] = [];
    await notices.subscribe((notice) => heard.push(notice));
    await store().register(registration());
    await store().setDesired('rec', null, 'unload');
    await vi.waitFor(() => expect(heard).toHaveLength(2));
    expect(heard).toEqual([
      { kind: 'model', model: 'rec', version: '1' },
      { kind: 'model', model: 'rec', version: null },
    ]);
    notices.close();
  });
});
