import { identityModel } from '@warmlane/testing';
import { type Echo, echoApart, echoHere } from './support/bare-echo.js';
import { bareJob } from './support/bare-job.js';
import { benchDevice, deviceArgument } from './support/bench-device.js';
import { InferClient } from './support/infer-client.js';
import { BenchFolder } from './support/repository.js';
import { median, type Row, round, writeResult } from './support/result.js';
import { System, startRedis } from './support/system.js';

// Large tensors over HTTP: what a request takes beside its computation, against a bare Fastify that sends the same bytes
// back. Turn by turn in one run; both clients and both servers are on this machine. The bare one is in the client's process;
// one in a process of its own, which works beside the client, is in the rows, and so is a BullMQ job that does nothing on the
// same Redis: each request is also one of those. `./warmlane bench bytes [--device cpu]`

const MEGABYTES = [0.1, 1, 10, 22];
const ROUNDS = 25;
/** Both sides run code that was compiled by then: 5 were too few, the first size took 2.3 times as long. */
const WARM_ROUNDS = 40;
const FLOAT_BYTES = 4;

const floatsOf = (megabytes: number): number => Math.round((megabytes * 1e6) / FLOAT_BYTES);

/** The stages of a server-timing header, ms. */
function stagesOf(serverTiming: string): (stage: string) => number {
  const times = new Map(
    [...serverTiming.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, stage, ms]) => [stage ?? '', Number(ms)]),
  );
  return (stage) => times.get(stage) ?? Number.NaN;
}

/** Times of one size by what was timed. */
class Times {
  readonly #all = new Map<string, number[]>();

  add(what: string, ms: number): void {
    this.#all.set(what, [...(this.#all.get(what) ?? []), ms]);
  }

  p50(what: string): number {
    return median(this.#all.get(what) ?? []);
  }
}

/** Where the time of one request goes, in the order of its way. */
const PARTS = [
  'inputs written, added to the queue, until the worker has it',
  'in the worker until it runs',
  'copied into and out of the lane',
  'to the runtime and back, answer written and read',
  'HTTP: client, body read, answer sent',
] as const;

async function timed(call: () => Promise<void>): Promise<number> {
  const begun = performance.now();
  await call();
  return performance.now() - begun;
}

await using server = await startRedis();
await using folder = await BenchFolder.create();
const shapes = MEGABYTES.map((size) => `"x:float32[${floatsOf(size)}]"`).join(', ');
await folder.add('copy', identityModel('float32', ['N']), `shapes: [${shapes}]\n`);
await using system = await System.start({
  models: folder.models,
  redis: server.url,
  data: folder.data,
  device: deviceArgument(),
});
await system.untilReady(120_000);
const device = await benchDevice(system.url);
const echoes = { here: await echoHere(), apart: await echoApart() };
const bare = await bareJob(server.url, 1);
const rows: Row[] = [];
const ratio: Record<string, number> = {};
for (const size of MEGABYTES) {
  const floats = floatsOf(size);
  const data = Buffer.alloc(floats * FLOAT_BYTES);
  for (let at = 0; at < data.length; at += 1) data[at] = (at * 31) % 64;
  const input = { name: 'x', datatype: 'FP32', shape: [floats], data };
  const client = new InferClient(system.url, { model: 'copy', version: '1', input, connections: 1 });
  const times = new Times();
  for (let round = -WARM_ROUNDS; round < ROUNDS; round += 1) {
    const begun = performance.now();
    const answer = await client.send();
    const tookMs = performance.now() - begun;
    if (answer.lane !== 'ready') throw new Error(`served ${answer.lane}, not by its lane`);
    if (!answer.body.subarray(-data.length).equals(data)) throw new Error('the answer is not what was sent');
    const echo = async (one: Echo): Promise<void> => {
      const back = await one.send(data);
      if (back.length !== data.length) throw new Error('the echo is not what was sent');
    };
    const hereMs = await timed(() => echo(echoes.here));
    const apartMs = await timed(() => echo(echoes.apart));
    const jobMs = await timed(() => bare.send());
    if (round < 0) continue;
    const of = stagesOf(answer.serverTiming);
    times.add('outside', tookMs - of('compute'));
    times.add('compute', of('compute'));
    times.add('here', hereMs);
    times.add('apart', apartMs);
    times.add('job', jobMs);
    const inside = of('queue') + of('gather') + of('copy') + of('compute');
    const parts = [of('queue'), of('gather'), of('copy'), of('total') - inside, tookMs - of('total')];
    PARTS.forEach((part, at) => {
      times.add(part, parts[at] ?? Number.NaN);
    });
  }
  await client.close();
  const value = round(times.p50('outside') / times.p50('here'), 2);
  ratio[`${size}MB`] = value;
  rows.push({
    what: `${size} MB in and out`,
    rounds: ROUNDS,
    outsideComputeP50Ms: round(times.p50('outside'), 2),
    computeP50Ms: round(times.p50('compute'), 2),
    bareEchoP50Ms: round(times.p50('here'), 2),
    bareEchoInOwnProcessP50Ms: round(times.p50('apart'), 2),
    bareJobP50Ms: round(times.p50('job'), 2),
    ratio: value,
  });
  for (const part of PARTS) rows.push({ what: `${size} MB: ${part}`, p50Ms: round(times.p50(part), 2) });
}
await echoes.here.close();
await echoes.apart.close();
await bare.close();
await writeResult({ name: 'bytes', device: device.name, rows, figures: { ratio } }, device.versions);
