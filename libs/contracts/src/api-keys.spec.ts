import { describe, expect, it } from 'vitest';
import { parseApiKeys } from './api-keys.js';

const hash = 'a'.repeat(64);

describe('parseApiKeys', () => {
  it('reads entries and lowers the hash', () => {
    expect(parseApiKeys('')).toEqual([]);
    expect(parseApiKeys(`ci:admin:${'AB'.repeat(32)}, app.1:infer:${hash},`)).toEqual([
      { id: 'ci', role: 'admin', sha256: 'ab'.repeat(32) },
      { id: 'app.1', role: 'infer', sha256: hash },
    ]);
  });

  it.each([
    ['a plain key', 'secret-token'],
    ['a short hash', `ci:admin:${hash.slice(1)}`],
    ['an unknown role', `ci:root:${hash}`],
    ['a fourth part', `ci:admin:${hash}:x`],
    ['a repeated id', `ci:admin:${hash},ci:infer:${hash}`],
  ])('refuses %s without showing it', (_what, text) => {
    expect(() => parseApiKeys(text)).toThrow(RangeError);
    expect(() => parseApiKeys(text)).not.toThrow(/secret-token/);
  });
});
