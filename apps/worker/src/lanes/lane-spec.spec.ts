import { type ModelMetadata, modelConfigSchema } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import type { HeldVersion } from '../models/held-version.js';
import { optionsKeyOf, rulesKeyOf } from './lane.js';
import { laneSpecOf, precisionOf } from './lane-spec.js';
import { variations } from './revisit.js';

const metadata: ModelMetadata = {
  inputs: [
    { name: 'x', dtype: 'float32', dims: ['N', 3, 48, 'W'] },
    { name: 'm', dtype: 'float32', dims: ['N', ''] },
  ],
  outputs: [{ name: 'y', dtype: 'float32', dims: ['N', 2] }],
};
const SHAPE = 'x:float32[4,3,48,100];m:float32[4,1]';
const held = (config: object = {}, over: Partial<HeldVersion> = {}): HeldVersion => ({
  name: 'm',
  version: '1',
  folder: '/m/1',
  files: { modelPath: '/m/1/model.onnx', digest: 'd', stamps: [] },
  config: modelConfigSchema.parse(config),
  metadata,
  sampleFiles: new Map(),
  refusal: null,
  ...over,
});
const spec = (config: object = {}, device: 'cpu' | 'cuda' = 'cpu', options = {}) =>
  laneSpecOf(held(config), { shapeKey: SHAPE, options }, device);

describe('laneSpecOf', () => {
  it('takes the first provider that the device has, and the options of that provider', () => {
    expect(spec()).toMatchObject({ provider: 'cpu', providers: ['cpu'], refusal: null, class: SHAPE, outputs: ['y'] });
    expect(spec({}, 'cuda')).toMatchObject({ provider: 'cuda', providers: ['cuda'] });
    const cuda = spec({ provider: ['cuda', 'cpu'], options: { use_tf32: false } }, 'cuda');
    expect(cuda).toMatchObject({
      provider: 'cuda',
      providers: ['cuda', 'cpu'],
      options: { provider: { use_tf32: '0' } },
    });
    expect(precisionOf(cuda)).toEqual({ provider: 'cuda', tf32: false });
    expect(precisionOf(spec({}, 'cuda'))).toEqual({ provider: 'cuda', tf32: true });
    expect(spec({ options: { use_tf32: 0 } }).options.provider).toEqual({});
    expect(spec({ memory: '2MiB' }).memoryCap).toBe(2 * 2 ** 20);
  });

  it('lets the options of a warm-up win over those of the yaml: another lane', () => {
    const config = { options: { intra_op_num_threads: 2 } };
    const warmed = spec(config, 'cpu', { intra_op_num_threads: 1 });
    expect(warmed.options.session).toEqual({ intra_op_num_threads: '1' });
    expect(optionsKeyOf(warmed)).not.toBe(optionsKeyOf(spec(config)));
    expect(optionsKeyOf(spec(config))).toBe(optionsKeyOf(spec(config)));
  });

  it('knows a lane that was proven for other rules, not for other sizes of batch', () => {
    const key = (config: object) => rulesKeyOf(spec(config));
    const pad = (to: number[], crop = 'd') => ({ x: { axis: 3, to, outputs: { y: { axis: 0, crop } } } });
    const keys = [
      key({}),
      key({ batch: { axis: { x: 0, m: 0 }, sizes: [1] } }),
      key({ pad: pad([100]) }),
      key({ pad: pad([100, 200]) }),
      key({ pad: pad([100], 'ceil(d/2)') }),
    ];
    expect(new Set(keys).size).toBe(keys.length);
    expect(key({ batch: { axis: { x: 0, m: 0 }, sizes: [1, 4] } })).toBe(keys[1]);
    expect(spec({ pad: { ...pad([100]), m: { axis: 1, to: [1], value: 3 } } }).fill.m).toEqual([0, 0, 0x40, 0x40]);
  });

  it('says why a device cannot have the lane', () => {
    expect(spec({ provider: 'cuda' }).refusal).toMatch(/^provider cuda: this worker has cpu/);
    expect(spec({ provider: ['cuda', 'cpu'] }).refusal).toMatch(/^provider cuda, cpu: this worker has cpu/);
    expect(spec({ provider: ['cuda', 'cpu'], fallback: 'allow' })).toMatchObject({ refusal: null, providers: ['cpu'] });
    expect(spec({}, 'cpu', { cudnn_conv_algo_serch: 'X' }).refusal).toMatch(/cudnn_conv_algo_search/);
    expect(laneSpecOf(held(), { shapeKey: 'x:float32[1]', options: {} }, 'cpu').refusal).toMatch(/missing input|rank/);
    const strings = { ...metadata, outputs: [{ name: 's', dtype: 'string' as const, dims: [1] }] };
    expect(laneSpecOf(held({}, { metadata: strings }), { shapeKey: SHAPE, options: {} }, 'cpu').refusal).toMatch(
      /^s: no fixed buffer can be bound for strings/,
    );
    expect(laneSpecOf(held({}, { refusal: 'other bytes' }), { shapeKey: 'x', options: {} }, 'cpu').refusal).toBe(
      'other bytes',
    );
  });
});

describe('variations', () => {
  it('change one free dimension at a time, those of one symbol together, smaller ones first', () => {
    const shapes = variations({ spec: spec() }).map((inputs) => inputs.map((input) => input.dims.join('x')).join(' '));
    expect(shapes.slice(0, 2)).toEqual(['4x3x48x50 4x1', '2x3x48x100 2x1']);
    expect(shapes).toContain('4x3x48x100 4x2');
    expect(shapes).toContain('8x3x48x100 8x1');
    expect(new Set(shapes).size).toBe(shapes.length);
    expect(shapes).not.toContain('4x3x48x100 4x1');
  });

  it('are none where every dimension is fixed', () => {
    const fixed = { inputs: [{ name: 'x', dtype: 'float32' as const, dims: [1, 2] }], outputs: metadata.outputs };
    const one = laneSpecOf(held({}, { metadata: fixed }), { shapeKey: 'x:float32[1,2]', options: {} }, 'cpu');
    expect(one.refusal).toBeNull();
    expect(variations({ spec: one })).toEqual([]);
  });
});
