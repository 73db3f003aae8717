import { expect, it } from 'vitest';
import { blocksRuntime } from './runtime-process.js';

it.each([
  ['lane.run', true],
  ['lane.items', true],
  ['lane.create', false],
  ['lane.measure', false],
  ['memory', false],
])('%s holds the serving thread: %s', (method, holds) => {
  expect(blocksRuntime(method)).toBe(holds);
});
