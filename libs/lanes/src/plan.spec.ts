import { type ModelMetadata, modelConfigSchema, type PlanEntry } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { declaredPlan, planInForce, requiredReady, wantedLanes, warmingOrder } from './plan.js';

const metadata: ModelMetadata = {
  inputs: [{ name: 'x', dtype: 'float32', dims: ['N', 3, 48, 'W'] }],
  outputs: [{ name: 'y', dtype: 'float32', dims: ['N', 2] }],
};
const entry = (over: Partial<PlanEntry>): PlanEntry => ({
  shapeKey: 'x:float32[1,3,48,192]',
  declared: true,
  warmups: [],
  replicas: 1,
  priority: 5,
  required: true,
  options: {},
  tune: false,
  addedAt: '2026-01-01T00:00:00.000Z',
  held: [],
  ...over,
});

describe('declaredPlan', () => {
  it('takes the shapes with the replicas and the necessity of the yaml', () => {
    const config = modelConfigSchema.parse({ shapes: ['x:float32[1,3,48,192]'], replicas: 2, required: false });
    expect(declaredPlan(metadata, config)).toEqual([
      { shapeKey: 'x:float32[1,3,48,192]', replicas: 2, priority: 5, required: false },
    ]);
  });

  it('names the shape that disagrees with the model, or stands there twice', () => {
    const of =
      (...shapes: string[]) =>
      () =>
        declaredPlan(metadata, modelConfigSchema.parse({ shapes }));
    expect(of('x:float32[1,4,48,192]')).toThrow(
      "shapes: 'x:float32[1,4,48,192]': input 'x': dimension 1 is 4, expected 3",
    );
    expect(of('x:int64[1,3,48,192]')).toThrow('dtype int64, expected float32');
    expect(of('x:float32[1,3,48,192]', 'x:float32[1,3,48,192]')).toThrow('stands there twice');
  });
});

describe('declaredPlan with a batch', () => {
  const shapes = (batch: unknown, ...declared: string[]) =>
    declaredPlan(metadata, modelConfigSchema.parse({ shapes: declared, batch })).map((lane) => lane.shapeKey);

  it('expands each shape to every size', () => {
    expect(shapes({ sizes: [4, 1] }, 'x:float32[1,3,48,192]', 'x:float32[1,3,48,320]')).toEqual([
      'x:float32[1,3,48,192]',
      'x:float32[4,3,48,192]',
      'x:float32[1,3,48,320]',
      'x:float32[4,3,48,320]',
    ]);
  });

  it('has a lane once that two shapes expand to', () => {
    expect(shapes({ sizes: [1, 4] }, 'x:float32[1,3,48,192]', 'x:float32[4,3,48,192]')).toHaveLength(2);
    expect(() => shapes({ sizes: [1], axis: { x: 1 } }, 'x:float32[1,3,48,192]')).toThrow('no free dimension');
  });
});

describe('planInForce', () => {
  it('is nothing of a version that is not loaded, and of one taken over only what a warm-up names', () => {
    const entries = [entry({}), entry({ shapeKey: 'x:float32[2,3,48,192]', warmups: ['w'] })];
    expect(planInForce({ state: 'LOADED', retired: false }, entries)).toHaveLength(2);
    expect(planInForce({ state: 'UNLOADED', retired: false }, entries)).toEqual([]);
    expect(planInForce({ state: 'LOADED', retired: true }, entries).map((one) => one.warmups)).toEqual([['w']]);
  });
});

describe('wantedLanes', () => {
  it('are those this worker ranks for, unless they are held back here', () => {
    const entries = [1, 2, 3, 4, 5, 6, 7, 8].map((n) => entry({ shapeKey: `x:float32[${n},3,48,192]` }));
    const doc = { name: 'cls', version: '1', metadata: null, config: modelConfigSchema.parse({}) };
    const model = { doc, workers: ['a', 'b'] };
    const of = (worker: string, list: PlanEntry[]) =>
      wantedLanes(worker, [{ ...model, entries: list }]).map((lane) => lane.entry.shapeKey);
    const [mine, other] = [of('a', entries), of('b', entries)];
    expect([...mine, ...other].sort()).toEqual(entries.map((one) => one.shapeKey).sort());
    expect(of('c', entries)).toEqual([]);
    const held = entries.map((one) => ({ ...one, held: ['a'] }));
    expect(of('a', held)).toEqual([]);
    expect(of('b', held)).toEqual(other);
  });

  it('have all sizes of a batch on the same workers, and the classes spread', () => {
    const config = modelConfigSchema.parse({ batch: { sizes: [1, 2, 4] } });
    const doc = { name: 'rec', version: '1', metadata, config };
    const entries = [32, 64, 96, 128, 160, 192, 224, 256].flatMap((width) =>
      [1, 2, 4].map((size) => entry({ shapeKey: `x:float32[${size},3,48,${width}]` })),
    );
    const widths = (worker: string) =>
      wantedLanes(worker, [{ doc, entries, workers: ['a', 'b'] }]).map((lane) => lane.entry.shapeKey.split(',')[3]);
    for (const worker of ['a', 'b']) {
      const mine = widths(worker);
      expect(mine.length).toBeGreaterThan(0);
      for (const width of mine) expect(mine.filter((one) => one === width)).toHaveLength(3);
    }
    expect(widths('a').length + widths('b').length).toBe(entries.length);
  });
});

describe('warmingOrder', () => {
  it('puts traffic before priority before age before the shape', () => {
    const lane = (shapeKey: string, traffic: number, priority: number, addedAt: string) => ({
      shapeKey,
      traffic,
      priority,
      addedAt,
    });
    const order = [
      lane('a', 9, 9, '2'),
      lane('b', 0, 1, '2'),
      lane('c', 0, 5, '1'),
      lane('d', 0, 5, '2'),
      lane('e', 0, 5, '2'),
    ];
    expect([...order].reverse().sort(warmingOrder)).toEqual(order);
  });
});

describe('requiredReady', () => {
  it('asks for every declared shape that is required', () => {
    const entries = [entry({}), entry({ shapeKey: 'b', required: false }), entry({ shapeKey: 'c', declared: false })];
    expect(requiredReady(entries, new Set())).toBe(false);
    expect(requiredReady(entries, new Set(['x:float32[1,3,48,192]']))).toBe(true);
    expect(requiredReady([], new Set())).toBe(true);
  });
});
