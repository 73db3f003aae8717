import { describe, expect, it } from 'vitest';
import { readNpy } from './npy.js';

function npy(header: string, data: Uint8Array, major = 1): Buffer {
  const length = Buffer.alloc(major === 1 ? 2 : 4);
  if (major === 1) length.writeUInt16LE(header.length);
  else length.writeUInt32LE(header.length);
  return Buffer.concat([
    Buffer.from('\x93NUMPY', 'latin1'),
    Buffer.from([major, 0]),
    length,
    Buffer.from(header, 'latin1'),
    data,
  ]);
}
const header = (descr: string, shape: string, fortran = 'False') =>
  `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': (${shape}), }\n`;

describe('readNpy', () => {
  it('reads arrays of every numeric dtype, scalars and all format versions', () => {
    const floats = new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer);
    for (const major of [1, 2, 3]) {
      expect(readNpy(npy(header('<f4', '2, 3'), floats, major), 'a.npy')).toEqual({
        dtype: 'float32',
        dims: [2, 3],
        data: Buffer.from(floats),
      });
    }
    expect(readNpy(npy(header('<i8', '2,'), new Uint8Array(16)), 'a.npy')).toMatchObject({ dtype: 'int64', dims: [2] });
    expect(readNpy(npy(header('|b1', ''), Uint8Array.of(1)), 'a.npy')).toMatchObject({ dtype: 'bool', dims: [] });
    expect(readNpy(npy(header('<f2', '3,', 'True'), new Uint8Array(6)), 'a.npy')).toMatchObject({ dtype: 'float16' });
  });

  it('says what is wrong with a file', () => {
    const refuse = (file: Buffer, text: string) => expect(() => readNpy(file, 'x/a.npy')).toThrow(`x/a.npy: ${text}`);
    refuse(Buffer.from('hello'), 'not a .npy file');
    refuse(npy(header('<f4', '2,'), new Uint8Array(8), 9), '.npy format 9 is unknown');
    refuse(npy(header('>f4', '2,'), new Uint8Array(8)), "dtype '>f4' cannot be used");
    refuse(npy(header('<c8', '2,'), new Uint8Array(16)), "dtype '<c8' cannot be used");
    refuse(npy(header('<f4', '2, 2', 'True'), new Uint8Array(16)), 'it is in Fortran order');
    refuse(npy(header('<f4', '2,'), new Uint8Array(7)), '7 bytes of data, expected 8');
    refuse(npy("{'descr': '<f4'}", new Uint8Array(8)), 'its header does not say');
    refuse(npy(header('<f4', '2,'), new Uint8Array(8)).subarray(0, 20), 'its header is cut short');
  });
});
