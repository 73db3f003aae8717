import { type DeclaredShape, PlanStore } from '@warmlane/redis';
import { describe, expect, it } from 'vitest';
import { X, Y, Z } from './documents.fixture.js';
import { useRedis } from './redis-client.fixture.js';

const fixture = useRedis();
const store = (): PlanStore => new PlanStore(fixture.redis);
const declared = (...shapes: string[]): DeclaredShape[] =>
  shapes.map((shapeKey) => ({ shapeKey, replicas: 1, priority: 5, required: true }));
const shapesOf = async (): Promise<string[]> => (await store().entries('rec', '1')).map((entry) => entry.shapeKey);

describe('PlanStore', () => {
  it('declares shapes once, however many workers read the same yaml', async () => {
    const changed = await Promise.all(
      Array.from({ length: 20 }, () => store().setDeclared('rec', '1', declared(X, Y))),
    );
    expect(changed.filter(Boolean)).toHaveLength(1);
    expect(await shapesOf()).toEqual([X, Y]);
    expect(await store().revision('rec', '1')).toBe(1);
    expect((await store().entries('rec', '1'))[0]).toMatchObject({
      declared: true,
      required: true,
      held: [],
      options: {},
    });
  });

  it('a changed yaml takes shapes out and brings shapes in', async () => {
    await store().setDeclared('rec', '1', declared(X, Y));
    expect(await store().setDeclared('rec', '1', declared(Y, Z))).toBe(true);
    expect(await shapesOf()).toEqual([Y, Z]);
    expect(await store().setDeclared('rec', '1', [])).toBe(true);
    expect(await shapesOf()).toEqual([]);
  });

  it('a removed shape stays out until the yaml changes', async () => {
    await store().setDeclared('rec', '1', declared(X, Y));
    expect(await store().remove('rec', '1', X)).toBe(true);
    expect(await store().remove('rec', '1', X)).toBe(false);
    expect(await store().setDeclared('rec', '1', declared(X, Y))).toBe(false);
    expect(await shapesOf()).toEqual([Y]);
    await store().setDeclared('rec', '1', declared(X, Y, Z));
    expect(await shapesOf()).toEqual([X, Y, Z]);
  });

  it('holds a shape back on one worker, over a new declaration', async () => {
    await store().setDeclared('rec', '1', declared(X, Y));
    expect(await store().hold('rec', '1', Z, 'w-0')).toBe(false);
    expect(await store().hold('rec', '1', X, 'w-0')).toBe(true);
    expect(await store().hold('rec', '1', X, 'w-0')).toBe(false);
    expect(await store().revision('rec', '1')).toBe(2);
    await store().setDeclared('rec', '1', declared(X, Z));
    expect((await store().entries('rec', '1')).map(({ shapeKey, held }) => [shapeKey, held])).toEqual([
      [X, ['w-0']],
      [Z, []],
    ]);
    expect(await store().unhold('rec', '1', X, 'w-0')).toBe(true);
    expect(await store().unhold('rec', '1', X, 'w-0')).toBe(false);
  });

  it('what holds a shape back goes with the shape', async () => {
    await store().setDeclared('rec', '1', declared(X));
    await store().hold('rec', '1', X, 'w-0');
    await store().setDeclared('rec', '1', []);
    await store().setDeclared('rec', '1', declared(X));
    expect((await store().entries('rec', '1'))[0]?.held).toEqual([]);
  });
});
