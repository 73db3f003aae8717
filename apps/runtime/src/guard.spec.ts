import { OrtError } from '@warmlane/ort';
import { expect, it, vi } from 'vitest';
import { guarded } from './guard.js';

const illegalAddress = new OrtError('cuda', 'CUDA failure 700: an illegal memory access', '', { cudaCode: 700 });
const noMemory = new OrtError('out-of-memory', 'CUDA failure 2: out of memory', '', { cudaCode: 2 });
const brokenCapture = new OrtError('cuda', 'CUDA failure 900: not permitted', '', { cudaCode: 900 });

it.each([
  ['a lost context', illegalAddress, 1],
  ['refused memory', noMemory, 0],
  ['a broken capture', brokenCapture, 0],
  ['any other error', new Error('other'), 0],
])('%s, thrown at once or later, goes on to the caller; the process is done for: %#', async (_what, error, times) => {
  const poisoned = vi.fn();
  const atOnce = guarded((): number => {
    throw error;
  }, poisoned);
  expect(() => atOnce()).toThrow(error);
  const later = guarded(() => Promise.reject<number>(error), poisoned);
  await expect(later()).rejects.toBe(error);
  expect(poisoned).toHaveBeenCalledTimes(2 * times);
});

it('results pass, at once or later', async () => {
  const poisoned = vi.fn();
  expect(guarded((n: number) => n + 1, poisoned)(1)).toBe(2);
  expect(await guarded((n: number) => Promise.resolve(n + 1), poisoned)(1)).toBe(2);
  expect(poisoned).not.toHaveBeenCalled();
});
