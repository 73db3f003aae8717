import { describe, expect, it } from 'vitest';
import { EMPTY_CONFIG, parseModelConfig } from './model-yaml.js';

describe('parseModelConfig', () => {
  it('reads the whole form, and an empty file as every default', () => {
    expect(parseModelConfig('')).toEqual(EMPTY_CONFIG);
    expect(EMPTY_CONFIG).toMatchObject({
      provider: 'auto',
      fallback: 'error',
      shapes: [],
      required: true,
      replicas: 1,
    });
    const config = parseModelConfig(`
provider: [cuda, cpu]
fallback: allow
options: { use_tf32: 0 }
shapes: ["x:float32[1,3,48,320]"]
required: false
replicas: 2
inputs: { x: { random: [-1, 1] }, sr: { values: [16000] }, ids: { file: warmup/ids.npy }, z: zeros }
tolerance: { relative: 0.05 }
memory: 512MiB
batch: { axis: { x: 0, y: 0 }, sizes: [1, 2, 4, 8] }
pad: { x: { axis: 3, to: [160, 320, 480], outputs: { y: { axis: 1, crop: "ceil(d/8)" } } } }
`);
    expect(config).toMatchObject({ provider: ['cuda', 'cpu'], replicas: 2, inputs: { z: { zeros: true } } });
    expect(config.pad).toEqual({
      x: { axis: 3, to: [160, 320, 480], value: 0, outputs: { y: { axis: 1, crop: 'ceil(d/8)' } } },
    });
    expect(parseModelConfig('pad: [{ x: { axis: 2, to: [8] } }, { x: { axis: 3, to: [8] } }]').pad).toHaveLength(2);
  });

  it.each([
    ['batch: { axis: { x: 0 } }', 'bad-request', 'sizes'],
    ['batch: { axis: { x: 0 }, sizes: [0] }', 'bad-request', 'sizes'],
    ['pad: { x: { axis: 3 } }', 'bad-request', 'pad'],
    ['shapse: []', 'bad-request', 'shapse'],
    ['replicas: 0', 'bad-request', 'replicas'],
    ['memory: 5', 'bad-request', 'memory'],
    ['memory: 0MiB', 'bad-request', 'memory is 0'],
    ['shapes: [', 'bad-request', 'warmlane.yaml:'],
    ['- a list', 'bad-request', 'warmlane.yaml:'],
  ])('refuses %s', (text, code, message) => {
    expect(() => parseModelConfig(text)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(message) }),
    );
  });

  it('takes tune', () => {
    expect(parseModelConfig('').tune).toBe(false);
    expect(parseModelConfig('tune: true').tune).toBe(true);
  });
});
