import { once } from 'node:events';
import { connect } from 'node:net';
import { deflateSync, gunzipSync, gzipSync, inflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { useApi } from './api.fixture.js';
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
    const byParameter = fixture.worker.jobs.at(-1);
    expect(byParameter?.priority).toBe(2);
    expect((byParameter?.deadlineAt ?? 0) - (byParameter?.enqueuedAt ?? 0)).toBe(5_000);
    const headers = { ...request.headers, 'warmlane-deadline-ms': '1234', 'warmlane-priority': '0' };
    await send(infer('double'), { ...request, headers });
    const byHeader = fixture.worker.jobs.at(-1);
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
      const answer = await send(`${fixture.api.url}/health/live`);
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
      /warmlane_body_bytes_in_flight\{[^}]*\} ([0-9]+)/.exec(
        (await send(`${fixture.api.url}/metrics`)).body.toString(),
      )?.[1];
    const { hostname, port } = new URL(fixture.api.url);
    const socket = connect(Number(port), hostname);
    await once(socket, 'connect');
    socket.write('POST /v2/models/double/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc');
    await expect.poll(metrics).toBe('1000000');
    socket.destroy();
    await expect.poll(metrics).toBe('0');
  });
});
