import { describe, expect, it } from 'vitest';
import { formatUuid } from './cuda-driver.js';
import { cudaVersion } from './cuda-runtime.js';
import { loadFirst, loadLibrary, whyNotLoadable } from './dynamic-library.js';

describe('a shared library', () => {
  it('that is missing is named', () => {
    expect(whyNotLoadable('libnowhere.so.7')).toContain('libnowhere.so.7: cannot open shared object file');
    expect(() => loadLibrary('libnowhere.so.7')).toThrow(/cannot load libnowhere\.so\.7/);
  });

  it('is loaded once and kept', () => {
    expect(loadLibrary('libc.so.6')).toBe(loadLibrary('libc.so.6'));
    expect(loadFirst(['libnowhere.so.7', 'libc.so.6'])).toBe(loadLibrary('libc.so.6'));
    expect(loadFirst(['libnowhere.so.7'])).toBeNull();
  });
});

describe('what CUDA says', () => {
  it('is written as people write it', () => {
    expect(cudaVersion(13_000)).toBe('13.0');
    expect(cudaVersion(12_040)).toBe('12.4');
    expect(formatUuid(Uint8Array.from({ length: 16 }, (_, at) => at))).toBe('00010203-0405-0607-0809-0a0b0c0d0e0f');
  });
});
