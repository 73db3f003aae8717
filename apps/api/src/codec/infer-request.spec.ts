import { type ModelMetadata, type NamedTensor, WarmlaneError } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { encodeInferAnswer, outputForm } from './infer-answer.js';
import { decodeInferRequest, decodeRawRequest } from './infer-request.js';

const floats = (...values: number[]): Buffer => Buffer.from(new Float32Array(values).buffer);

/** Splits a body as the server does. */
function decode(head: unknown, ...binary: Uint8Array[]) {
  return decodeInferRequest(
    Buffer.from(typeof head === 'string' ? head : JSON.stringify(head)),
    binary.length === 0 ? null : Buffer.concat(binary),
  );
}

const x = { name: 'x', datatype: 'FP32', shape: [1, 2] };

function failure(run: () => unknown): WarmlaneError {
  try {
    run();
  } catch (error) {
    if (error instanceof WarmlaneError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('decodeInferRequest', () => {
  it('reads JSON tensors, id, outputs and parameters, whatever the order of the keys', () => {
    const request = decode(
      '{"outputs":[{"parameters":{"binary_data":true},"name":"y"},{"name":"z"}],' +
        '"inputs":[{"data":[[1,2]],"shape":[1,2],"datatype":"FP32","name":"x"}],' +
        '"parameters":{"timeout":1500,"priority":2,"binary_data_output":false},"id":"1"}',
    );
    expect(request).toEqual({
      id: '1',
      inputs: [{ name: 'x', dtype: 'float32', dims: [1, 2], data: new Uint8Array(floats(1, 2)) }],
      outputs: [
        { name: 'y', binary: true },
        { name: 'z', binary: false },
      ],
      binaryOutput: false,
      deadlineMs: 2,
      priority: 2,
    });
  });

  it('takes raw tensors in the order of the inputs, mixed with JSON ones', () => {
    const request = decode(
      {
        parameters: { binary_data_output: true },
        inputs: [
          { ...x, name: 'a', parameters: { binary_data_size: 8 } },
          { name: 'b', datatype: 'INT64', shape: [1], data: [5] },
          { name: 'c', datatype: 'BF16', shape: [2], parameters: { binary_data_size: 4 } },
        ],
        outputs: [{ name: 'y', parameters: { binary_data: false } }, { name: 'z' }],
      },
      floats(1, 2),
      Buffer.from([1, 2, 3, 4]),
    );
    expect(request.inputs.map((input) => [input.name, input.dtype, Buffer.from(input.data).toString('hex')])).toEqual([
      ['a', 'float32', '0000803f00000040'],
      ['b', 'int64', '0500000000000000'],
      ['c', 'bfloat16', '01020304'],
    ]);
    expect(request.outputs).toEqual([
      { name: 'y', binary: false },
      { name: 'z', binary: true },
    ]);
  });

  it('takes zero-sized tensors and an empty list of outputs as all of them', () => {
    const request = decode({ inputs: [{ name: 'x', datatype: 'FP32', shape: [0, 2], data: [] }], outputs: [] });
    expect(request.inputs[0]?.data).toHaveLength(0);
    expect(request.outputs).toBeNull();
  });

  it("takes what KServe's client sends for an empty tensor: no data, and no length of the JSON", () => {
    const request = decode(
      '{"id":"r","model_name":"id_int8","inputs":[{"name":"x","shape":[0],"datatype":"INT8",' +
        '"parameters":{"binary_data_size":0},"data":null}],"parameters":{"binary_data_output":true}}',
    );
    expect(request).toMatchObject({ id: 'r', binaryOutput: true });
    expect(request.inputs).toEqual([{ name: 'x', dtype: 'int8', dims: [0], data: Buffer.alloc(0) }]);
  });

  it("takes null for what may be left out, as KServe's data model writes it", () => {
    const request = decode(
      '{"id":null,"parameters":null,"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":null,' +
        '"data":[1.0,2.0]}],"outputs":null}',
    );
    expect(request).toMatchObject({ id: null, outputs: null, binaryOutput: false });
    expect(decode({ inputs: [{ ...x, data: [1, 2] }], outputs: [{ name: 'y', parameters: null }] }).outputs).toEqual([
      { name: 'y', binary: false },
    ]);
  });

  it('ignores parameters that clients add, and a timeout of 0', () => {
    const request = decode({
      parameters: { sequence_id: 0, priority: 0, timeout: 0, triton_enable_empty_final_response: true, mine: 'x' },
      inputs: [{ ...x, data: [1, 2], parameters: { mine: 1 } }],
    });
    expect(request).toMatchObject({ deadlineMs: null, priority: 0 });
  });

  it.each<[string, unknown, RegExp]>([
    ['an array', [], /the request must be an object, got an array/],
    ['no inputs', {}, /inputs must be an array, got nothing/],
    ['an input that is no object', { inputs: [1] }, /inputs\[0\] must be an object, got the number 1/],
    ['an input without a name', { inputs: [{}] }, /inputs\[0\].name must be a string, got nothing/],
    ['an unknown datatype', { inputs: [{ ...x, datatype: 'FP8', data: [] }] }, /input 'x': unknown datatype 'FP8'/],
    ['a datatype in small letters', { inputs: [{ ...x, datatype: 'fp32', data: [] }] }, /unknown datatype 'fp32'/],
    ['a shape that is no array', { inputs: [{ ...x, shape: '2', data: [] }] }, /input 'x': shape must be an array/],
    ['a shape of strings', { inputs: [{ ...x, shape: ['2'], data: [] }] }, /it holds the string "2"/],
    ['a negative dimension', { inputs: [{ ...x, shape: [-1], data: [1] }] }, /input 'x': dimension -1 is not/],
    ['a fractional dimension', { inputs: [{ ...x, shape: [1.5], data: [1] }] }, /dimension 1.5 is not/],
    ['a huge dimension', { inputs: [{ ...x, shape: [1e18], data: [1] }] }, /more than 1073741824 elements/],
    [
      'huge dimensions whose product overflows',
      { inputs: [{ ...x, shape: [65536, 65536, 65536, 65536], data: [1] }] },
      /more than/,
    ],
    ['data that is no array', { inputs: [{ ...x, data: 'abc' }] }, /input 'x': data must be an array, got the string/],
    ['no data', { inputs: [x] }, /input 'x': data must be an array, got nothing/],
    ['too few elements', { inputs: [{ ...x, data: [1] }] }, /input 'x': data has 1 elements, expected 2/],
    ['FP16 as JSON', { inputs: [{ ...x, datatype: 'FP16', data: [1, 2] }] }, /input 'x': FP16 has no JSON form/],
    ['an id that is a number', { id: 1, inputs: [{ ...x, data: [1, 2] }] }, /id must be a string, got the number 1/],
    [
      'a negative timeout',
      { parameters: { timeout: -1 }, inputs: [] },
      /'timeout' \(microseconds\) must be an integer/,
    ],
    ['a priority of 10', { parameters: { priority: 10 }, inputs: [] }, /'priority' must be an integer from 0 to 9/],
    [
      'a flag that is no flag',
      { parameters: { binary_data_output: 1 }, inputs: [] },
      /binary_data_output must be true/,
    ],
    ['outputs that are no objects', { inputs: [], outputs: ['y'] }, /outputs\[0\] must be an object/],
  ])('refuses %s', (_, head, message) => {
    const error = failure(() => decode(head));
    expect(error.message).toMatch(message);
    expect(error.code).toBe('bad-request');
  });

  it.each<[string, unknown]>([
    ['a sequence', { parameters: { sequence_id: 7 }, inputs: [] }],
    ['a shared-memory input', { inputs: [{ ...x, parameters: { shared_memory_region: 'r' } }] }],
    ['a shared-memory output', { inputs: [], outputs: [{ name: 'y', parameters: { shared_memory_region: 'r' } }] }],
    ['classification', { inputs: [], outputs: [{ name: 'y', parameters: { classification: 3 } }] }],
  ])('says that %s is not supported', (_, head) => {
    expect(failure(() => decode(head)).code).toBe('not-supported');
  });

  const sized = (bytes: unknown) => ({ inputs: [{ ...x, parameters: { binary_data_size: bytes } }] });
  it.each<[string, unknown, Uint8Array[], RegExp]>([
    ['a truncated body', sized(8), [floats(1)], /unexpected size for input 'x': expected 8 bytes, the body has 4 left/],
    [
      'an over-long body',
      sized(8),
      [floats(1, 2, 3)],
      /unexpected additional input data: 4 bytes after the last input/,
    ],
    ['no header', sized(8), [], /no Inference-Header-Content-Length/],
    ['a size that disagrees with the shape', sized(4), [floats(1)], /unexpected size 4, expected 8 for float32\[1,2\]/],
    ['a size that is no number', sized('8'), [floats(1, 2)], /binary_data_size must be an integer/],
    ['a negative size', sized(-8), [floats(1, 2)], /binary_data_size must be an integer/],
    [
      'both data and a size',
      { inputs: [{ ...x, data: [1, 2], parameters: { binary_data_size: 8 } }] },
      [floats(1, 2)],
      /has both data and binary_data_size/,
    ],
    [
      'malformed BYTES',
      { inputs: [{ name: 's', datatype: 'BYTES', shape: [1], parameters: { binary_data_size: 5 } }] },
      [Buffer.from([9, 0, 0, 0, 1])],
      /input 's': malformed BYTES data, expected 1/,
    ],
  ])('refuses %s', (_, head, binary, message) => {
    const error = failure(() => decode(head, ...binary));
    expect(error.message).toMatch(message);
    expect(error.code).toBe('bad-request');
  });

  it('limits nesting to 100, in data and elsewhere', () => {
    const deep = (levels: number) => `${'['.repeat(levels)}1${']'.repeat(levels)}`;
    const inData = (levels: number) => `{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":${deep(levels)}}]}`;
    expect(decode(inData(97)).inputs[0]?.data).toHaveLength(4);
    expect(failure(() => decode(inData(98))).message).toContain('nesting deeper than 100');
    expect(failure(() => decode(inData(200_000))).message).toContain('nesting deeper than 100');
    expect(failure(() => decode(`{"parameters":{"a":${deep(100_000)}}}`)).message).toContain('nesting deeper than 100');
  });

  it.each([
    '',
    '{',
    '{"a"',
    '{"a":1,}',
    '{"inputs":[]} x',
    '{"a":tru}',
    "{'a':1}",
    '{"a":"\n"}',
    '{"inputs":[{"data":[1',
  ])('names the position of what is no JSON: %j', (text) => {
    expect(failure(() => decode(text)).message).toMatch(/not valid JSON: .* at position \d+/);
  });

  it('refuses bytes that are not UTF-8', () => {
    expect(failure(() => decodeInferRequest(Buffer.from([0x22, 0xff, 0x22]), null)).message).toContain('not UTF-8');
  });

  it('does not let a key reach the prototype', () => {
    const request = decode('{"__proto__":{"inputs":[]},"inputs":[]}');
    expect(request.inputs).toEqual([]);
    expect(failure(() => decode('{"__proto__":{"inputs":[]}}')).message).toContain('inputs must be an array');
  });

  it('reads many strings in linear time', () => {
    const text = `{"inputs":[{"name":"s","datatype":"BYTES","shape":[100000],"data":[${'"ab",'.repeat(99_999)}"ab"]}]}`;
    const started = performance.now();
    expect(decode(text).inputs[0]?.data).toHaveLength(600_000);
    expect(performance.now() - started).toBeLessThan(2_000);
  });
});

describe('decodeRawRequest', () => {
  const metadata = (dims: (number | string)[], dtype: 'float32' | 'string' = 'float32'): ModelMetadata => ({
    inputs: [{ name: 'x', dtype, dims }],
    outputs: [{ name: 'y', dtype, dims }],
  });

  it('tells the one open dimension from the size', () => {
    expect(decodeRawRequest(floats(1, 2, 3, 4), metadata(['N', 2])).inputs[0]?.dims).toEqual([2, 2]);
    expect(decodeRawRequest(floats(1, 2), metadata([1, -1])).inputs[0]?.dims).toEqual([1, 2]);
    const fixed = decodeRawRequest(floats(1, 2), metadata([1, 2]));
    expect(fixed).toMatchObject({ id: null, outputs: null, binaryOutput: true });
    expect(fixed.inputs[0]?.dims).toEqual([1, 2]);
  });

  it('takes a BYTES body as one element', () => {
    const request = decodeRawRequest(Buffer.from('abc'), metadata(['N'], 'string'));
    expect(Buffer.from(request.inputs[0]?.data ?? []).toString('hex')).toBe('03000000616263');
    expect(request.inputs[0]?.dims).toEqual([1]);
  });

  it.each<[string, Buffer, ModelMetadata, RegExp]>([
    ['two open dimensions', floats(1), metadata(['N', 'W']), /has 2 dimensions that are not fixed/],
    [
      'a size that fits no whole dimension',
      floats(1, 2, 3),
      metadata(['N', 2]),
      /unexpected size 12, expected a multiple of 8/,
    ],
    ['a wrong size', floats(1), metadata([1, 2]), /got 4 bytes, expected 8/],
    [
      'two inputs',
      floats(1),
      { inputs: [...metadata([1]).inputs, ...metadata([1]).inputs], outputs: [] },
      /needs a model with one input, this one has 2/,
    ],
  ])('refuses %s', (_, body, model, message) => {
    expect(failure(() => decodeRawRequest(body, model)).message).toMatch(message);
  });
});

describe('encodeInferAnswer', () => {
  const y: NamedTensor = { name: 'y', dtype: 'float32', dims: [1, 2], data: floats(1.5, -2) };
  const z: NamedTensor = {
    name: 'z"',
    dtype: 'int64',
    dims: [1],
    data: new Uint8Array(new BigInt64Array([2n ** 60n]).buffer),
  };
  const fields = { id: 'a"b', model: 'rec', version: '2' };

  it('writes JSON alone', () => {
    const { body, headBytes } = encodeInferAnswer(fields, [y, z], () => false);
    expect(headBytes).toBeNull();
    expect(body.toString()).toBe(
      '{"id":"a\\"b","model_name":"rec","model_version":"2","outputs":[' +
        '{"name":"y","datatype":"FP32","shape":[1,2],"data":[1.5,-2]},' +
        '{"name":"z\\"","datatype":"INT64","shape":[1],"data":[1152921504606846976]}]}',
    );
  });

  it('puts binary outputs behind the head, in their order, mixed with JSON ones', () => {
    const form = outputForm(
      [
        { name: 'y', binary: true },
        { name: 'z"', binary: false },
      ],
      true,
    );
    const { body, headBytes } = encodeInferAnswer({ ...fields, id: null }, [y, z, { ...y, name: 'w' }], form);
    const head = JSON.parse(body.toString('utf8', 0, headBytes ?? 0)) as { id?: string; outputs: unknown[] };
    expect(head.id).toBeUndefined();
    expect(head.outputs).toMatchObject([
      { name: 'y', parameters: { binary_data_size: 8 } },
      { name: 'z"', data: [2 ** 60] },
      { name: 'w', parameters: { binary_data_size: 8 } },
    ]);
    expect(body.subarray(headBytes ?? 0)).toEqual(Buffer.concat([floats(1.5, -2), floats(1.5, -2)]));
  });
});
