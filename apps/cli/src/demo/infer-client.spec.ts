import { describe, expect, it } from 'vitest';
import { decodeAnswer, encodeRequest } from './infer-client.js';

describe('binary inference bodies', () => {
  it('has the JSON first, then the bytes of each input', () => {
    const { body, headerBytes } = encodeRequest([
      { name: 'a', dtype: 'float32', dims: [2], data: new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]) },
      { name: 'b', dtype: 'uint8', dims: [1], data: new Uint8Array([9]) },
    ]);
    expect([...body.subarray(headerBytes)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(JSON.parse(new TextDecoder().decode(body.subarray(0, headerBytes)))).toEqual({
      parameters: { binary_data_output: true },
      inputs: [
        { name: 'a', datatype: 'FP32', shape: [2], parameters: { binary_data_size: 8 } },
        { name: 'b', datatype: 'UINT8', shape: [1], parameters: { binary_data_size: 1 } },
      ],
    });
  });

  it('reads the outputs back and refuses one that is cut off', () => {
    const header = new TextEncoder().encode(
      JSON.stringify({
        model_name: 'm',
        outputs: [{ name: 'y', datatype: 'FP32', shape: [1], parameters: { binary_data_size: 4 } }],
      }),
    );
    const answer = new Uint8Array([...header, 1, 2, 3, 4]);
    expect(decodeAnswer(answer, header.byteLength)).toEqual([
      { name: 'y', dtype: 'float32', dims: [1], data: new Uint8Array([1, 2, 3, 4]) },
    ]);
    expect(() => decodeAnswer(answer.subarray(0, -1), header.byteLength)).toThrow(/cut off/);
  });
});
