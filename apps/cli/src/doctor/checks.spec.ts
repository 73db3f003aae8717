import { describe, expect, it } from 'vitest';
import { checkCuda, checkNode, checkOpenFiles } from './checks.js';
import type { OrtProbe } from './ort-probe.schema.js';

describe('doctor', () => {
  it('needs Node 20.19', () => {
    expect(['20.19.0', '22.0.0', '24.21.0'].map((version) => checkNode(version).ok)).toEqual([true, true, true]);
    expect(['20.18.3', '18.20.0'].map((version) => checkNode(version).ok)).toEqual([false, false]);
  });

  it('reads the limit of open files', () => {
    const limits = (soft: string) =>
      `Limit   Soft Limit   Hard Limit   Units\nMax open files   ${soft}   1048576   files\n`;
    expect(checkOpenFiles(limits('256'))).toMatchObject({ ok: false, found: '256' });
    expect(checkOpenFiles(limits('1048576')).ok).toBe(true);
    expect(checkOpenFiles(limits('unlimited')).ok).toBe(true);
    expect(checkOpenFiles('').ok).toBe(true);
  });

  it('needs a CUDA provider only where there is a device, and names what is missing', () => {
    const ort: OrtProbe = {
      version: '1.29.0',
      libraryPath: '/x/libonnxruntime.so.1',
      builtProviders: [],
      reason: '',
      cuda: { loadable: false, libraryPath: null, missing: ['libcudnn.so.9'], reason: 'needs libcudnn.so.9' },
    };
    expect(checkCuda(ort, [])).toMatchObject({ ok: false, needed: false, hint: '' });
    const device = { index: 0, name: 'NVIDIA L4', uuid: null };
    expect(checkCuda(ort, [device])).toMatchObject({ ok: false, needed: true });
    expect(checkCuda(ort, [device]).found).toContain('libcudnn.so.9');
  });
});
