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
`);
    expect(config).toMatchObject({ provider: ['cuda', 'cpu'], replicas: 2, inputs: { z: { zeros: true } } });
  });

  it.each([
    ['batch: { axis: { x: 0 }, sizes: [1] }', 'not-supported', "'batch' is not supported"],
    ['pad: {}', 'not-supported', "'pad' is not supported"],
    ['tune: true', 'not-supported', "'tune: true' is not supported"],
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

  it('takes tune: false', () => {
    expect(parseModelConfig('tune: false').tune).toBe(false);
  });
});
