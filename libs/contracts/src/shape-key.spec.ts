import { describe, expect, it } from 'vitest';
import { WarmlaneError } from './errors.js';
import { decodeName, encodeName, parseShapeClass, parseShapeKey, printShapeClass, printShapeKey } from './shape-key.js';
import { DTYPE_NAMES, type TensorSpec } from './tensor.js';

describe('shape key', () => {
  it.each([
    'x:float32[1,3,48,320]',
    'input:float32[1,512];state:float32[2,1,128];sr:int64[]',
    'a%3Ab:bool[0]',
    '%25%20%2F%2C:string[2,2]',
  ])('parse and print are inverse for %s', (key) => {
    expect(printShapeKey(parseShapeKey(key))).toBe(key);
  });

  it('keeps every name over a print and a parse', () => {
    const names = ['x', '', 'a b', 'a:b', 'q;r', '[0]', 'é,ü', '100%', 'a/b', 'tab\tnew\nline', '\u3000wide'];
    names.forEach((name, at) => {
      const inputs: TensorSpec[] = [{ name, dtype: DTYPE_NAMES[at % DTYPE_NAMES.length] ?? 'int8', dims: [at, 1] }];
      expect(parseShapeKey(printShapeKey(inputs))).toEqual(inputs);
    });
  });

  it('encodes in UTF-8 with upper-case hex', () => {
    expect(encodeName('a/b \u3000')).toBe('a%2Fb%20%E3%80%80');
    expect(decodeName('a%2Fb%20%E3%80%80')).toBe('a/b \u3000');
  });

  it.each([
    ['', 'is not name:dtype'],
    ['x', 'is not name:dtype'],
    ['x:float32', 'is not name:dtype'],
    ['x:float33[1]', "unknown dtype 'float33'"],
    ['x:float32[-1]', "dimension '-1'"],
    ['x:float32[1.5]', "dimension '1.5'"],
    ['x:float32[01]', "dimension '01'"],
    ['x:float32[1, 3]', "dimension ' 3'"],
    ['x:float32[1,]', "dimension ''"],
    ['x:float32[99999999999]', 'elements'],
    ['x:float32[65536,65536]', 'elements'],
    ['x:float32[1];x:float32[1]', "names input 'x' twice"],
    ['x:float32[1];', 'is not name:dtype'],
    ['%zz:float32[1]', 'broken percent-escape'],
    ['a b:float32[1]', 'is not canonical'],
    ['%2f:float32[1]', 'is not canonical'],
  ])('refuses %j', (key, message) => {
    let thrown: unknown;
    try {
      parseShapeKey(key);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(WarmlaneError);
    expect((thrown as WarmlaneError).code).toBe('bad-request');
    expect((thrown as WarmlaneError).message).toContain(message);
  });

  it('writes the batch dimension of a class as b', () => {
    expect(printShapeClass([{ name: 'x', dtype: 'float32', dims: ['b', 3, 48, 320] }])).toBe('x:float32[b,3,48,320]');
  });
});

describe('shape classes', () => {
  it('are printed and parsed', () => {
    const text = 'in%2Fput:float32[b,3];state:float32[2,b,4];sr:int64[]';
    expect(printShapeClass(parseShapeClass(text))).toBe(text);
    expect(parseShapeClass(text)[1]).toEqual({ name: 'state', dtype: 'float32', dims: [2, 'b', 4] });
    expect(() => parseShapeClass('x:float32[c,3]')).toThrow('no shape class');
    expect(() => parseShapeClass('x:float31[b]')).toThrow('no shape class');
  });
});
