import { describe, expect, it } from 'vitest';
import type { OrtProbe } from '../doctor/ort-probe.schema.js';
import { chooseProvider } from './choose-provider.js';

const probe = (cuda: Partial<OrtProbe['cuda']>): OrtProbe => ({
  version: '1.29.0',
  libraryPath: '/x/libonnxruntime.so.1',
  builtProviders: [],
  reason: '',
  cuda: { loadable: false, libraryPath: null, missing: [], reason: '', ...cuda },
});
const device = { index: 0, name: 'NVIDIA L4', uuid: null };

describe('chooseProvider', () => {
  it('says why it takes the CPU', () => {
    expect(chooseProvider([], probe({}))).toEqual({
      provider: 'cpu',
      reason: 'CPU: this machine has no NVIDIA device',
    });
    const missing = chooseProvider([device], probe({ reason: 'it needs libcudnn.so.9' }));
    expect(missing.provider).toBe('cpu');
    expect(missing.reason).toContain('NVIDIA L4 is here');
    expect(missing.reason).toContain('libcudnn.so.9');
  });

  it('takes the GPU where its provider loads', () => {
    expect(chooseProvider([device], probe({ loadable: true }))).toMatchObject({ provider: 'cuda' });
  });
});
