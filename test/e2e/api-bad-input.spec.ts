import { once } from 'node:events';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { useApi } from './api.fixture.js';
import { ApiProcess } from './api-process.fixture.js';
import { DOUBLE, ECHOES } from './fake-models.fixture.js';
import { floats, json, send, takeApart, tritonRequest } from './protocol-client.fixture.js';

const READY_SHAPE = 'x:float32[1,2]';
const fixture = useApi(async (worker) => {
  await worker.serve(DOUBLE, [{ shapeKey: READY_SHAPE, replicas: 1, priority: 5, required: true }]);
  for (const echo of ECHOES) await worker.serve(echo);
  await worker.warm('double', '1', READY_SHAPE);
});
const infer = (model: string) => `${fixture.api.url}/v2/models/${model}/infer`;
const one = { name: 'x', datatype: 'FP32', shape: [1, 2] };

describe('bad input', () => {
  const json400 = (body: unknown, model = 'double') =>
    send(infer(model), { body: typeof body === 'string' ? body : JSON.stringify(body) });
  const input = (change: Record<string, unknown>) => ({ inputs: [{ ...one, data: [1, 2], ...change }] });

  it.each<[string, unknown, RegExp]>([
    ['an unknown input', input({ name: 'z' }), /unknown input 'z'\. The model's inputs are x:float32\[N,2\]/],
    ['a wrong dtype', input({ datatype: 'INT32' }), /input 'x': dtype int32, expected float32/],
    ['a wrong rank', input({ shape: [2] }), /input 'x': rank 1 \[2\], expected rank 2/],
    ['a wrong fixed dimension', input({ shape: [2, 1] }), /input 'x': dimension 1 is 1, expected 2/],
    ['a negative dimension', input({ shape: [-1, 2] }), /input 'x': dimension -1 is not/],
    ['a huge dimension', input({ shape: [1e15, 2] }), /input 'x': shape .* has more than/],
    ['an unknown input with too few elements', input({ name: 'z', data: [1] }), /unknown input 'z'/],
    ['a wrong dtype with too few elements', input({ datatype: 'INT32', data: [1] }), /dtype int32, expected float32/],
    [
      'a wrong dimension with too many elements',
      input({ shape: [2, 1], data: [1, 2, 3] }),
      /dimension 1 is 1, expected 2/,
    ],
    ['too few elements', input({ data: [1] }), /input 'x': data has 1 elements, expected 2/],
    [
      'NaN in JSON',
      '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,NaN]}]}',
      /input 'x': 'NaN'.* at position 65/,
    ],
    ['a missing input', { inputs: [] }, /missing input 'x'\. Expected x:float32\[N,2\]/],
    ['an unknown output', { ...input({}), outputs: [{ name: 'q' }] }, /unknown output 'q'/],
    ['no JSON', 'abc', /not valid JSON: unexpected 'abc' at position 0/],
    ['an empty body', '', /the request has no body/],
  ])('%s is a 400 that says what was expected', async (_, body, message) => {
    const answer = await json400(body);
    expect(answer.status).toBe(400);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(answer.headers['warmlane-error']).toBe('bad-request');
    expect(Object.keys(json(answer))).toEqual(['error']);
    expect(json(answer).error).toMatch(message);
  });

  it.each<[string, Record<string, string | number>, Uint8Array, RegExp]>([
    [
      'a length beyond the body',
      { 'Inference-Header-Content-Length': 5_000 },
      floats(1),
      /is 5000, but the body has 4 bytes/,
    ],
    ['a length that is no number', { 'Inference-Header-Content-Length': 'x' }, floats(1), /must be an integer from 0/],
    ['a negative length', { 'Inference-Header-Content-Length': -5 }, floats(1), /must be an integer from 0/],
    [
      'a length inside the JSON',
      { 'Inference-Header-Content-Length': 3 },
      Buffer.from('{"inputs":[]}'),
      /not valid JSON/,
    ],
    [
      'a raw body of a broken size',
      { 'Inference-Header-Content-Length': 0 },
      Buffer.alloc(9),
      /unexpected size 9, expected a multiple of 8/,
    ],
  ])('%s is a 400', async (_, headers, body, message) => {
    const answer = await send(infer('double'), { headers, body });
    expect(answer.status).toBe(400);
    expect(json(answer).error).toMatch(message);
  });

  it('a truncated and an over-long binary body are a 400', async () => {
    const request = tritonRequest([{ ...one, data: floats(1, 2) }]);
    const whole = Buffer.from(request.body ?? '');
    const cut = await send(infer('double'), { ...request, body: whole.subarray(0, whole.length - 3) });
    expect(json(cut).error).toMatch(/unexpected size for input 'x': expected 8 bytes, the body has 5 left/);
    const long = await send(infer('double'), { ...request, body: Buffer.concat([whole, Buffer.alloc(2)]) });
    expect(json(long).error).toMatch(/unexpected additional input data: 2 bytes/);
    expect([cut.status, long.status]).toEqual([400, 400]);
    const other = tritonRequest([{ ...one, name: 'z', data: floats(1, 2) }]);
    const both = await send(infer('double'), { ...other, body: Buffer.from(other.body ?? '').subarray(0, -3) });
    expect(json(both).error).toMatch(/unknown input 'z'/);
  });

  it('of a large body the name is told before the count too: it is read on another thread', async () => {
    const data = Array.from({ length: 50_000 }, (_, at) => at / 7);
    const answer = await json400({ inputs: [{ ...one, name: 'z', data }] });
    expect(json(answer).error).toMatch(/unknown input 'z'/);
  });

  it('FP16 as JSON is a 400 before anything is computed, in and out', async () => {
    const before = fixture.worker.jobs.length;
    const given = await json400({ inputs: [{ name: 'x', datatype: 'FP16', shape: [1], data: [1] }] }, 'echo-float16');
    expect(given.status).toBe(400);
    const request = tritonRequest([{ name: 'x', datatype: 'BF16', shape: [1], data: Buffer.alloc(2) }], {
      parameters: { binary_data_output: false },
    });
    const asked = await send(infer('echo-bfloat16'), request);
    expect(asked.status).toBe(400);
    expect(json(asked).error).toMatch(/output 'y' is BF16.*use binary/);
    expect(fixture.worker.jobs.length).toBe(before);
  });

  it('NaN in an output that was asked for as JSON is a 400 that names binary', async () => {
    const request = tritonRequest([{ ...one, data: floats(Number.NaN, 1) }], {
      parameters: { binary_data_output: false },
    });
    const answer = await send(infer('double'), request);
    expect(answer.status).toBe(400);
    expect(json(answer).error).toMatch(/output 'y' holds NaN at element 0.*use binary/);
    expect(
      takeApart(await send(infer('double'), tritonRequest([{ ...one, data: floats(Number.NaN, 1) }]))).outputs.size,
    ).toBe(1);
  });

  it.each([
    ['/v2/models/nobody/infer', 404, 'unknown-model', /unknown model 'nobody'/],
    ['/v2/models/double/versions/9/infer', 404, 'unknown-version', /model 'double' has no version 9/],
    ['/v2/models/double/versions/x/infer', 404, 'not-found', /^Not Found$/],
  ])('POST %s is a %i', async (path, status, code, message) => {
    const request = tritonRequest([{ ...one, data: floats(1, 2) }]);
    const answer = await send(`${fixture.api.url}${path}`, request);
    expect(answer.status).toBe(status);
    expect(answer.headers['warmlane-error']).toBe(code);
    expect(json(answer).error).toMatch(message);
  });

  it('a body above 64 MiB is a 413 before it is read, a packed one when it passes that', async () => {
    const declared = await send(infer('double'), {
      method: 'POST',
      headers: { 'content-length': 64 * 2 ** 20 + 1, connection: 'close' },
      body: '',
    }).catch((error: unknown) => error);
    if (!(declared instanceof Error)) expect((declared as { status: number }).status).toBe(413);
    const bomb = gzipSync(Buffer.alloc(65 * 2 ** 20));
    const packed = await send(infer('double'), { headers: { 'content-encoding': 'gzip' }, body: bomb });
    expect(packed.status).toBe(413);
    expect(packed.headers['warmlane-error']).toBe('too-large');
  });

  it('an unknown content-encoding is a 501 that names the known ones', async () => {
    const request = tritonRequest([{ ...one, data: floats(1, 2) }]);
    const answer = await send(infer('double'), {
      ...request,
      headers: { ...request.headers, 'content-encoding': 'br' },
    });
    expect(answer.status).toBe(501);
    expect(answer.headers['accept-encoding']).toBe('gzip, deflate');
    expect(json(answer).error).toMatch(/content-encoding 'br' is not supported/);
  });

  it.each(['0', '3600001', 'soon', '-1'])('a deadline of %j is a 400', async (deadline) => {
    const request = tritonRequest([{ ...one, data: floats(1, 2) }]);
    const answer = await send(infer('double'), {
      ...request,
      headers: { ...request.headers, 'warmlane-deadline-ms': deadline },
    });
    expect(answer.status).toBe(400);
    expect(json(answer).error).toMatch(/warmlane-deadline-ms must be an integer from 1 to 3600000/);
  });
});

describe('bodies in flight', () => {
  it('are reserved before they are read: what goes over the budget is a 503 at once', async () => {
    const limits = { WARMLANE_BODY_LIMIT: '1MiB', WARMLANE_BODIES_IN_FLIGHT: '1MiB' };
    await using small = await ApiProcess.start({ WARMLANE_REDIS: fixture.redis.url, ...limits });
    const { hostname, port } = new URL(small.url);
    const holder = connect(Number(port), hostname);
    await once(holder, 'connect');
    holder.write('POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1048000\r\n\r\n{');
    const body = Buffer.alloc(2_000, 32);
    const over = () => send(`${small.url}/v2/models/double/infer`, { body });
    await expect.poll(async () => (await over()).status).toBe(503);
    const answer = await over();
    expect(answer.headers['warmlane-error']).toBe('overloaded');
    expect(answer.headers['retry-after']).toBe('1');
    holder.destroy();
    await expect.poll(async () => (await over()).status).toBe(400);
    const large = await send(`${small.url}/v2/models/double/infer`, { body: Buffer.alloc(1_048_577, 32) });
    expect(large.status).toBe(413);
  });
});
