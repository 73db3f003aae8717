import { describe, expect, it } from 'vitest';
import { closeAll, filled, Handle, type Pointer } from './handle.js';

const pointer = 4096n as Pointer<'Thing'>;

describe('a handle', () => {
  it('is released once, and refuses afterwards', () => {
    const released: bigint[] = [];
    const handle = new Handle('Thing', pointer, (at) => released.push(at));
    expect(handle.pointer).toBe(pointer);
    handle.close();
    handle.close();
    expect(released).toEqual([pointer]);
    expect(handle.closed).toBe(true);
    expect(() => handle.pointer).toThrow('this Thing is closed');
  });

  it('is released by the end of a block', () => {
    const released: bigint[] = [];
    new Handle('Thing', pointer, (at) => released.push(at))[Symbol.dispose]();
    expect(released).toEqual([pointer]);
  });
});

describe('closing many', () => {
  it('closes every one in order, and throws the first error at the end', () => {
    const order: string[] = [];
    const item = (name: string, fails: boolean) => ({
      close: () => {
        order.push(name);
        if (fails) throw new Error(name);
      },
    });
    expect(() => closeAll([item('a', false), null, item('b', true), item('c', true), item('d', false)])).toThrow('b');
    expect(order).toEqual(['a', 'b', 'c', 'd']);
  });
});

describe('an out parameter', () => {
  it('must have been filled', () => {
    expect(filled([pointer], 'Create')).toBe(pointer);
    expect(() => filled([null], 'Create')).toThrow('Create gave a null pointer');
  });
});
