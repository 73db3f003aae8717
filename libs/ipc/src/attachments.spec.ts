import { describe, expect, it } from 'vitest';
import { attach, detach } from './attachments.js';

describe('attachments', () => {
  it('leave a value and return to their places', () => {
    const a = new Uint8Array([1]);
    const b = Buffer.from('b');
    const value = { inputs: [{ name: 'x', dims: [1], data: a }, { name: 'y' }], deep: { er: { data: b } } };
    const { value: bare, paths, attachments } = detach(value);
    expect(attachments).toEqual([a, b]);
    expect(JSON.parse(JSON.stringify(bare))).toEqual(bare);
    expect(value.inputs[0]?.data).toBe(a);
    expect(attach(bare, paths, attachments)).toEqual(value);
  });

  it('may be the whole value', () => {
    const whole = new Uint8Array([1, 2]);
    const { value, paths, attachments } = detach(whole);
    expect(attach(value, paths, attachments)).toBe(whole);
  });

  it('without any, the value is not copied', () => {
    const value = { a: [1, 2, { b: 'c' }] };
    expect(detach(value).value).toBe(value);
  });

  it.each([
    ['a path that leads nowhere', [['a', 'b']]],
    ['more places than attachments', [['a'], ['a']]],
  ])('refuse %s', (_what, paths) => {
    expect(() => attach({ a: null }, paths, [new Uint8Array(1)])).toThrow('has no place');
  });
});
