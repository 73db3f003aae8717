import { describe, expect, it } from 'vitest';
import { maySkipHere } from './skip-rules.js';

describe('maySkipHere', () => {
  const none = { isRoot: false, hasUserNamespaces: false };
  it('allows tests that need rights where there are none', () => {
    expect(maySkipHere('console draws [needs browser]', none)).toBe(true);
    expect(maySkipHere('full tmpfs [needs mount]', none)).toBe(true);
    expect(maySkipHere('socket of another user [needs other user]', none)).toBe(true);
  });

  it('allows nothing else', () => {
    expect(maySkipHere('plain', none)).toBe(false);
    expect(maySkipHere('full tmpfs [needs mount]', { ...none, isRoot: true })).toBe(false);
    expect(maySkipHere('full tmpfs [needs mount]', { ...none, hasUserNamespaces: true })).toBe(false);
  });
});
