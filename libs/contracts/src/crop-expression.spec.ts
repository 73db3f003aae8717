import { describe, expect, it } from 'vitest';
import { parseCrop } from './crop-expression.js';

describe('parseCrop', () => {
  it.each([
    ['d', 17, 17],
    ['ceil(d/8)', 17, 3],
    ['ceil(d/8)', 16, 2],
    ['floor(d / 4) - 1', 17, 3],
    ['2*d+1', 3, 7],
    ['2*(d+1)', 3, 8],
    ['d-1-1', 5, 3],
    ['16/4/2', 9, 2],
    ['ceil(floor(d/2)/2)*2', 7, 4],
    ['-1 + d', 4, 3],
    [' ( ( 7 ) ) ', 1, 7],
  ])('%s of %d is %d', (text, d, size) => {
    expect(parseCrop(text).sizeFor(d)).toBe(size);
  });

  it.each([
    ['', /ends too early/],
    ['ceil(d/8', /'\)' is missing/],
    ['ceil d', /'\(' is missing after ceil/],
    ['d/8)', /'\)' stands where the rule should end/],
    ['d 8', /'8' stands where the rule should end/],
    ['d*', /ends too early/],
    ['*d', /'\*' stands where a number or d should/],
    ['process.exit(1)', /'process.exit\(1\)' is not understood/],
    ['1.5*d', /'\.5\*d' is not understood/],
    ['d**2', /'\*' stands where/],
    ['99999999999999999999', /too large/],
    [`${'('.repeat(300)}d`, /longer than 200/],
  ])('refuses %s', (text, message) => {
    expect(() => parseCrop(text)).toThrow(
      expect.objectContaining({ code: 'bad-request', message: expect.stringMatching(message) }),
    );
  });

  it.each([
    ['d/8', 20],
    ['d-5', 3],
    ['d/0', 4],
    ['0/0', 4],
  ])('says that %s of %d is no size', (text, d) => {
    expect(() => parseCrop(text).sizeFor(d)).toThrow(
      expect.objectContaining({ code: 'bad-request', message: expect.stringContaining('no size') }),
    );
  });
});
