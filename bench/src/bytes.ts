import { createServer } from 'node:net';
import { identityModel } from '@warmlane/testing';
import fastify from 'fastify';
import { Pool } from 'undici';
import { InferClient } from './support/infer-client.js';
import { BenchFolder } from './support/repository.js';
import { median, type Row, round, writeResult } from './support/result.js';
import { System, startRedis } from './support/system.js';

// Large tensors over HTTP: what a request takes beside its computation, against a bare Fastify that sends the same bytes
// back. Turn by turn in one run; both clients and both servers are on this machine.

const MEGABYTES = [0.1, 1, 10, 22];
const ROUNDS = 25;
const WARM_ROUNDS = 5;
const FLOAT_BYTES = 4;

const floatsOf = (megabytes: number): number => Math.round((megabytes * 1e6) / FLOAT_BYTES);

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** A server that sends back the body it got. */
async function startEcho() {
  const app = fastify({ bodyLimit: 64 * 2 ** 20 });
  app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  );
  app.post('/echo', (request, reply) => reply.type('application/octet-stream').send(request.body));
  const port = await freePort();
  await app.listen({ host: '127.0.0.1', port });
  const pool = new Pool(`http://127.0.0.1:${port}`, { connections: 1 });
  return {
    async send(body: Buffer): Promise<Buffer> {
      const headers = { 'content-type': 'application/octet-stream' };
      const answer = await pool.request({ path: '/echo', method: 'POST', headers, body });
      return Buffer.from(await answer.body.arrayBuffer());
    },
    async close(): Promise<void> {
      await pool.close();
      await app.close();
    },
  };
}

/** `compute` of a server-timing header, ms. */
function computeMs(serverTiming: string): number {
  return Number(/compute;dur=([\d.]+)/.exec(serverTiming)?.[1] ?? Number.NaN);
}

await using server = await startRedis();
await using folder = await BenchFolder.create();
const shapes = MEGABYTES.map((size) => `"x:float32[${floatsOf(size)}]"`).join(', ');
await folder.add('copy', identityModel('float32', ['N']), `shapes: [${shapes}]\n`);
await using system = await System.start({ models: folder.models, redis: server.url, data: folder.data });
await system.untilReady(120_000);
const echo = await startEcho();
const rows: Row[] = [];
const ratio: Record<string, number> = {};
for (const size of MEGABYTES) {
  const floats = floatsOf(size);
  const data = Buffer.alloc(floats * FLOAT_BYTES);
  for (let at = 0; at < data.length; at += 1) data[at] = (at * 31) % 64;
  const input = { name: 'x', datatype: 'FP32', shape: [floats], data };
  const client = new InferClient(system.url, { model: 'copy', version: '1', input, connections: 1 });
  const outside: number[] = [];
  const compute: number[] = [];
  const bare: number[] = [];
  for (let round = -WARM_ROUNDS; round < ROUNDS; round += 1) {
    const begun = performance.now();
    const answer = await client.send();
    const tookMs = performance.now() - begun;
    if (answer.lane !== 'ready') throw new Error(`served ${answer.lane}, not by its lane`);
    if (!answer.body.subarray(-data.length).equals(data)) throw new Error('the answer is not what was sent');
    const echoed = performance.now();
    const back = await echo.send(data);
    const bareMs = performance.now() - echoed;
    if (back.length !== data.length) throw new Error('the echo is not what was sent');
    if (round < 0) continue;
    outside.push(tookMs - computeMs(answer.serverTiming));
    compute.push(computeMs(answer.serverTiming));
    bare.push(bareMs);
  }
  await client.close();
  const value = round(median(outside) / median(bare), 2);
  ratio[`${size}MB`] = value;
  rows.push({
    what: `${size} MB in and out`,
    rounds: ROUNDS,
    outsideComputeP50Ms: round(median(outside), 2),
    computeP50Ms: round(median(compute), 2),
    bareEchoP50Ms: round(median(bare), 2),
    ratio: value,
  });
}
await echo.close();
await writeResult({ name: 'bytes', device: 'cpu', rows, figures: { ratio } });
