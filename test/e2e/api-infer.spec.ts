import { once } from 'node:events';
import { connect } from 'node:net';
import { deflateSync, gunzipSync, gzipSync, inflateSync } from 'node:zlib';
import { startRedis } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ApiProcess } from './api-process.fixture.js';
import { DOUBLE, ECHOES } from './fake-models.fixture.js';
import { FakeWorker } from './fake-worker.fixture.js';
import { floats, json, send, takeApart, tritonRequest } from './protocol-client.fixture.js';

let redis: Awaited<ReturnType<typeof startRedis>>;
let worker: FakeWorker;
let api: ApiProcess;
const READY_SHAPE = 'x:float32[1,2]';

beforeAll(async () => {
  redis = await startRedis();
  worker = await FakeWorker.start(redis.url);
  await worker.serve(DOUBLE, [{ shapeKey: READY_SHAPE, replicas: 1, priority: 5, required: true }]);
  for (const echo of ECHOES) await worker.serve(echo);
  await worker.warm('double', '1', READY_SHAPE);
  api = await ApiProcess.start({ WARMLANE_REDIS: redis.url });
});
afterAll(async () => {
  await api?.stop('SIGKILL');
  await worker?.[Symbol.asyncDispose]();
  await redis?.stop();
});

const infer = (model: string) => `${api.url}/v2/models/${model}/infer`;
const one = { name: 'x', datatype: 'FP32', shape: [1, 2] };

describe('infer over HTTP', () => {
  it('answers what tritonclient sends, byte for byte, from the warm lane', async () => {
    const answer = await send(infer('double'), tritonRequest([{ ...one, data: floats(1.5, -3) }], { id: '1' }));
    expect(answer.status, answer.body.toString()).toBe(200);
    expect(answer.headers['content-type']).toBe('application/octet-stream');
    expect(answer.headers['warmlane-lane']).toBe('ready');
    expect(answer.headers['warmlane-shape']).toBe(READY_SHAPE);
    expect(answer.headers['server-timing']).toMatch(
      /^queue;dur=0.250, gather;dur=0.000, copy;dur=0.125, compute;dur=0.500, total;dur=[0-9.]+$/,
    );
    const { head, outputs } = takeApart(answer);
    expect(head).toEqual({
      id: '1',
      model_name: 'double',
      model_version: '1',
      outputs: [{ name: 'y', datatype: 'FP32', shape: [1, 2], parameters: { binary_data_size: 8 } }],
    });
    expect(outputs.get('y')).toEqual(floats(3, -6));
  });

  it('answers JSON with JSON, under exactly application/json', async () => {
    const body = JSON.stringify({
      inputs: [
        {
          ...one,
          shape: [2, 2],
          data: [
            [1, 2],
            [3, 4.5],
          ],
        },
      ],
    });
    const answer = await send(infer('double'), { body });
    expect(answer.status, answer.body.toString()).toBe(200);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(answer.headers['inference-header-content-length']).toBeUndefined();
    expect(answer.headers['warmlane-lane']).toBe('cold');
    expect(json(answer)).toEqual({
      model_name: 'double',
      model_version: '1',
      outputs: [{ name: 'y', datatype: 'FP32', shape: [2, 2], data: [2, 4, 6, 9] }],
    });
  });

  it('mixes binary and JSON outputs and inputs as they are asked for', async () => {
    const request = tritonRequest([{ ...one, data: floats(1, 2) }], {
      outputs: [{ name: 'y', parameters: { binary_data: false } }],
    });
    const answer = await send(infer('double'), request);
    expect(answer.headers['content-type']).toBe('application/json');
    expect(takeApart(answer).head.outputs[0]?.data).toEqual([2, 4]);
    const body = JSON.stringify({
      inputs: [{ ...one, data: [1, 2] }],
      outputs: [{ name: 'y', parameters: { binary_data: true } }],
    });
    expect(takeApart(await send(infer('double'), { body })).outputs.get('y')).toEqual(floats(2, 4));
  });

  it.each([
    ['none', {}],
    ['octet-stream', { 'content-type': 'application/octet-stream' }],
    ['a form, as libcurl says', { 'content-type': 'application/x-www-form-urlencoded' }],
    ['nonsense', { 'content-type': ';;;' }],
  ])('does not look at the content-type: %s', async (_, headers) => {
    const request = tritonRequest([{ ...one, data: floats(1, 2) }]);
    const answer = await send(infer('double'), { ...request, headers: { ...request.headers, ...headers } });
    expect(answer.status, answer.body.toString()).toBe(200);
  });

  it('takes a body in chunks, without a length', async () => {
    const request = tritonRequest([{ ...one, data: floats(1, 2) }]);
    const answer = await send(infer('double'), {
      ...request,
      headers: { ...request.headers, 'transfer-encoding': 'chunked' },
    });
    expect(takeApart(answer).outputs.get('y')).toEqual(floats(2, 4));
  });

  it('takes one raw tensor as the whole body', async () => {
    const headers = { 'Inference-Header-Content-Length': 0 };
    const answer = await send(infer('double'), { headers, body: floats(1, 2, 3, 4) });
    const { head, outputs } = takeApart(answer);
    expect(head.outputs[0]?.shape).toEqual([2, 2]);
    expect(outputs.get('y')).toEqual(floats(2, 4, 6, 8));
  });

  it.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
  ])('takes %s bodies; the length of the head is that of the unpacked body', async (encoding, pack) => {
    const request = tritonRequest([{ ...one, data: floats(1, 2) }]);
    const body = pack(request.body ?? '');
    const answer = await send(infer('double'), { headers: { ...request.headers, 'content-encoding': encoding }, body });
    expect(takeApart(answer).outputs.get('y')).toEqual(floats(2, 4));
  });

  it.each([
    ['gzip', gunzipSync],
    ['deflate', inflateSync],
  ])('packs the answer as %s only if asked', async (encoding, unpack) => {
    const data = floats(...Array.from({ length: 2_000 }, (_, at) => at));
    const request = tritonRequest([{ ...one, shape: [1_000, 2], data }]);
    const plain = await send(infer('double'), request);
    expect(plain.headers['content-encoding']).toBeUndefined();
    const packed = await send(infer('double'), {
      ...request,
      headers: { ...request.headers, 'accept-encoding': encoding },
    });
    expect(packed.headers['content-encoding']).toBe(encoding);
    expect(packed.body.byteLength).toBeLessThan(plain.body.byteLength);
    expect(takeApart({ ...packed, body: unpack(packed.body) }).outputs).toEqual(takeApart(plain).outputs);
  });

  it('carries every datatype through, and large tensors as blobs', async () => {
    const elements = 5_000;
    for (const { name } of ECHOES) {
      const datatype = DATATYPES[name.slice('echo-'.length)] ?? '';
      const size = BYTES_OF[datatype] ?? 8;
      const data = Buffer.alloc(elements * size);
      for (let at = 0; at < data.byteLength; at += 1) data[at] = datatype === 'BOOL' ? at % 2 : (at * 31) % 251;
      if (datatype === 'BYTES') for (let at = 0; at < elements; at += 1) data.writeUInt32LE(4, at * 8);
      const answer = await send(infer(name), tritonRequest([{ name: 'x', datatype, shape: [elements], data }]));
      const { head, outputs } = takeApart(answer);
      expect(head.outputs[0]).toMatchObject({ datatype, shape: [elements] });
      expect(outputs.get('y')?.equals(data), datatype).toBe(true);
    }
  });

  it('keeps 64-bit integers exact as JSON, both ways', async () => {
    const body =
      '{"inputs":[{"name":"x","datatype":"INT64","shape":[2],"data":[9007199254740993,-9223372036854775808]}]}';
    const answer = await send(infer('echo-int64'), { body });
    expect(answer.body.toString()).toContain('"data":[9007199254740993,-9223372036854775808]');
  });

  it('uses the deadline and the priority of headers before those of parameters', async () => {
    const request = tritonRequest([{ ...one, data: floats(7, 7) }], {
      parameters: { timeout: 5_000_000, priority: 2 },
    });
    await send(infer('double'), request);
    const byParameter = worker.jobs.at(-1);
    expect(byParameter?.priority).toBe(2);
    expect((byParameter?.deadlineAt ?? 0) - (byParameter?.enqueuedAt ?? 0)).toBe(5_000);
    const headers = { ...request.headers, 'warmlane-deadline-ms': '1234', 'warmlane-priority': '0' };
    await send(infer('double'), { ...request, headers });
    const byHeader = worker.jobs.at(-1);
    expect(byHeader?.priority).toBe(0);
    expect((byHeader?.deadlineAt ?? 0) - (byHeader?.enqueuedAt ?? 0)).toBe(1_234);
  });

  it('answers 1,000 concurrent requests that all have the id "1", each with its own answer', async () => {
    const answers = await Promise.all(
      Array.from({ length: 1_000 }, (_, n) =>
        send(infer('double'), tritonRequest([{ ...one, data: floats(n, -n) }], { id: '1' })),
      ),
    );
    answers.forEach((answer, n) => {
      const { head, outputs } = takeApart(answer);
      expect(head.id).toBe('1');
      expect(outputs.get('y')).toEqual(floats(2 * n, -2 * n));
    });
  });

  it('does not let a JSON body of 60 MB hold up the others', async () => {
    const huge = `{"inputs":[{"name":"x","datatype":"FP32","shape":[7500000,2],"data":[${'1.5,'.repeat(14_999_999)}1.5]}]}`;
    expect(huge.length).toBeGreaterThan(59e6);
    let done = false;
    const slow = send(infer('double'), { body: huge }).finally(() => {
      done = true;
    });
    const begunAt = performance.now();
    let slowestMs = 0;
    let others = 0;
    while (!done) {
      const startedAt = performance.now();
      const answer = await send(`${api.url}/health/live`);
      expect(answer.status).toBe(200);
      slowestMs = Math.max(slowestMs, performance.now() - startedAt);
      others += 1;
    }
    const answer = await slow;
    expect(answer.status).toBe(413);
    expect(json(answer).error).toContain('use binary');
    expect(others).toBeGreaterThan(5);
    // Reading the text takes most of the time: on the event loop one probe would wait for all of it.
    expect(slowestMs).toBeLessThan((performance.now() - begunAt) / 2);
  });

  it('reads and writes large JSON in a thread', async () => {
    const values = Array.from({ length: 200_000 }, (_, at) => at / 2);
    const body = JSON.stringify({ id: 'big', inputs: [{ ...one, shape: [100_000, 2], data: values }] });
    const answer = await send(infer('double'), { body });
    expect(json<{ id: string }>(answer).id).toBe('big');
    expect(takeApart(answer).head.outputs[0]?.data).toEqual(values.map((value) => value * 2));
  });

  it('gives back what a broken-off body had reserved', async () => {
    const metrics = async () =>
      /warmlane_body_bytes_in_flight\{[^}]*\} ([0-9]+)/.exec((await send(`${api.url}/metrics`)).body.toString())?.[1];
    const { hostname, port } = new URL(api.url);
    const socket = connect(Number(port), hostname);
    await once(socket, 'connect');
    socket.write('POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc');
    await expect.poll(metrics).toBe('1000000');
    socket.destroy();
    await expect.poll(metrics).toBe('0');
  });
});

const BYTES_OF: Record<string, number> = {
  BOOL: 1,
  UINT8: 1,
  INT8: 1,
  UINT16: 2,
  INT16: 2,
  FP16: 2,
  BF16: 2,
  UINT32: 4,
  INT32: 4,
  FP32: 4,
};
const DATATYPES: Record<string, string> = {
  bool: 'BOOL',
  uint8: 'UINT8',
  uint16: 'UINT16',
  uint32: 'UINT32',
  uint64: 'UINT64',
  int8: 'INT8',
  int16: 'INT16',
  int32: 'INT32',
  int64: 'INT64',
  float16: 'FP16',
  bfloat16: 'BF16',
  float32: 'FP32',
  float64: 'FP64',
  string: 'BYTES',
};

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
  });

  it('FP16 as JSON is a 400 before anything is computed, in and out', async () => {
    const before = worker.jobs.length;
    const given = await json400({ inputs: [{ name: 'x', datatype: 'FP16', shape: [1], data: [1] }] }, 'echo-float16');
    expect(given.status).toBe(400);
    const request = tritonRequest([{ name: 'x', datatype: 'BF16', shape: [1], data: Buffer.alloc(2) }], {
      parameters: { binary_data_output: false },
    });
    const asked = await send(infer('echo-bfloat16'), request);
    expect(asked.status).toBe(400);
    expect(json(asked).error).toMatch(/output 'y' is BF16.*use binary/);
    expect(worker.jobs.length).toBe(before);
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
    const answer = await send(`${api.url}${path}`, request);
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
    await using small = await ApiProcess.start({ WARMLANE_REDIS: redis.url, ...limits });
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

describe('idempotency-key', () => {
  const keyed = (key: string, ...values: number[]) => {
    const request = tritonRequest([{ ...one, data: floats(...values) }], { id: '1' });
    return send(infer('double'), { ...request, headers: { ...request.headers, 'idempotency-key': key } });
  };

  it('gives the same body the same answer from one run, and refuses another body', async () => {
    const before = worker.jobs.length;
    const answers = await Promise.all([keyed('k1', 3, 4), keyed('k1', 3, 4), keyed('k1', 3, 4)]);
    answers.push(await keyed('k1', 3, 4));
    for (const answer of answers) expect(takeApart(answer).outputs.get('y')).toEqual(floats(6, 8));
    expect(worker.jobs.length - before).toBe(1);
    const other = await keyed('k1', 5, 6);
    expect(other.status).toBe(409);
    expect(other.headers['warmlane-error']).toBe('conflict');
    expect(takeApart(await keyed('k2', 5, 6)).outputs.get('y')).toEqual(floats(10, 12));
  });

  it('keeps large answers as well', async () => {
    const data = Buffer.alloc(400_000, 7);
    const request = tritonRequest([{ name: 'x', datatype: 'UINT8', shape: [data.byteLength], data }]);
    const big = () =>
      send(infer('echo-uint8'), { ...request, headers: { ...request.headers, 'idempotency-key': 'big' } });
    for (const answer of [await big(), await big()])
      expect(takeApart(answer).outputs.get('y')?.equals(data)).toBe(true);
  });

  it('lets go of the key when the request is refused', async () => {
    const request = tritonRequest([{ ...one, shape: [1, 3], data: floats(1, 2, 3) }]);
    const refused = () =>
      send(infer('double'), { ...request, headers: { ...request.headers, 'idempotency-key': 'bad' } });
    expect((await refused()).status).toBe(400);
    expect((await refused()).status).toBe(400);
    expect((await keyed('bad', 1, 2)).status).toBe(200);
  });

  it('holds it between API processes', async () => {
    await using other = await ApiProcess.start({ WARMLANE_REDIS: redis.url });
    const request = tritonRequest([{ ...one, data: floats(8, 9) }]);
    const headers = { ...request.headers, 'idempotency-key': 'shared' };
    const before = worker.jobs.length;
    const urls = [api.url, other.url, api.url, other.url];
    const answers = await Promise.all(
      urls.map((url) => send(`${url}/v2/models/double/infer`, { ...request, headers })),
    );
    for (const answer of answers) expect(takeApart(answer).outputs.get('y')).toEqual(floats(16, 18));
    expect(worker.jobs.length - before).toBe(1);
  });
});
