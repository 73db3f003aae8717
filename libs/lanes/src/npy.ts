import { type DType, elementCount, tensorBytes, WarmlaneError } from '@warmlane/contracts';

/** A NumPy array: little-endian, row-major. */
export interface NpyArray {
  dtype: DType;
  dims: number[];
  data: Uint8Array;
}

const MAGIC = Buffer.from('\x93NUMPY', 'latin1');

const DESCRIPTORS: Record<string, DType> = {
  b1: 'bool',
  u1: 'uint8',
  u2: 'uint16',
  u4: 'uint32',
  u8: 'uint64',
  i1: 'int8',
  i2: 'int16',
  i4: 'int32',
  i8: 'int64',
  f2: 'float16',
  f4: 'float32',
  f8: 'float64',
};

/**
 * Reads a .npy file (format 1 to 3). Throws `bad-request` with `what` in front for anything but a little-endian,
 * row-major array of numbers or bools.
 */
export function readNpy(file: Buffer, what: string): NpyArray {
  const refuse = (why: string): never => {
    throw new WarmlaneError('bad-request', `${what}: ${why}`, 'Save it with numpy.save as a plain numeric array.');
  };
  if (file.byteLength < 10 || !file.subarray(0, 6).equals(MAGIC)) return refuse('not a .npy file');
  const major = file.readUInt8(6);
  if (major < 1 || major > 3) return refuse(`.npy format ${major} is unknown`);
  const lengthBytes = major === 1 ? 2 : 4;
  if (file.byteLength < 8 + lengthBytes) return refuse('its header is cut short');
  const headerBytes = lengthBytes === 2 ? file.readUInt16LE(8) : file.readUInt32LE(8);
  const start = 8 + lengthBytes + headerBytes;
  if (start > file.byteLength) return refuse('its header is cut short');
  const header = file.toString('latin1', 8 + lengthBytes, start);
  const descriptor = /'descr':\s*'([^']*)'/.exec(header)?.[1];
  const fortran = /'fortran_order':\s*(True|False)/.exec(header)?.[1];
  const shape = /'shape':\s*\(([^)]*)\)/.exec(header)?.[1];
  if (descriptor === undefined || fortran === undefined || shape === undefined) {
    return refuse('its header does not say descr, fortran_order and shape');
  }
  const dims = shape
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map(Number);
  elementCount(dims, what);
  const order = descriptor.charAt(0);
  const dtype = DESCRIPTORS[descriptor.slice(1)];
  if (dtype === undefined || !'<|='.includes(order)) return refuse(`dtype '${descriptor}' cannot be used`);
  // An array of one dimension has the same bytes in either order.
  if (fortran === 'True' && dims.length > 1) return refuse('it is in Fortran order');
  const expected = tensorBytes({ dtype, dims }, what);
  const data = file.subarray(start);
  if (expected !== data.byteLength) return refuse(`${data.byteLength} bytes of data, expected ${expected}`);
  return { dtype, dims, data };
}
