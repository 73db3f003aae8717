import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { nvidiaDriverVersion } from '@warmlane/ort';
import { HttpLines } from './support/http-lines.js';
import { closedLoop, summarize } from './support/load.js';
import { type OpenRun, openLoop, openRow, together } from './support/open-loop.js';
import { CHECKSUM, lineOf, recModel, shapeKeyOf } from './support/rec-model.js';
import { BenchFolder } from './support/repository.js';
import { median, percentile, type Row, round, writeResult } from './support/result.js';
import type { ProducerResult, ProducerTask } from './support/serve-producer.js';
import { System, startRedis } from './support/system.js';

/**
 * `./warmlane bench serve [--device cpu] [--seconds 6] [--rounds 3] [--widths 160,320] [--sizes 1,2,4,8]`: one model three
 * times, with batch lanes, with lanes of batch 1 and without lanes, under the same load turn by turn. At the worker (queue
 * in, checksum out) for lines of the first width, and over HTTP with whole answers and mixed widths at several rates.
 */
const { values } = parseArgs({
  options: {
    device: { type: 'string', default: 'cpu' },
    seconds: { type: 'string', default: '6' },
    rounds: { type: 'string', default: '3' },
    widths: { type: 'string', default: '160,320' },
    sizes: { type: 'string', default: '1,2,4,8' },
  },
});
const MEASURE_MS = Number(values.seconds) * 1_000;
const WARM_MS = 1_500;
const ROUNDS = Number(values.rounds);
const WIDTHS = values.widths.split(',').map(Number);
const SIZES = values.sizes.split(',').map(Number);
const LANES = { rec: 'batches', 'rec-1': 'batch 1', 'rec-cold': 'none' } as const;
type Model = keyof typeof LANES;
const MODELS: Model[] = ['rec', 'rec-1', 'rec-cold'];
/** Shares of what the batch lanes do at most. */
const RATES = [0.3, 0.5, 0.7, 0.9, 1.2];
const DEADLINE_MS = 2_000;
const READY_MS = 600_000;
/** So many requests wait that every batch is full. */
const IN_FLIGHT = 8 * Math.max(...SIZES);

/** Producers of their own where there are cores for them. */
class Producers implements AsyncDisposable {
  private constructor(private readonly all: readonly ChildProcess[]) {}

  static async start(redis: string): Promise<Producers> {
    const count = availableParallelism() >= 8 ? 4 : 1;
    const program = new URL('./support/serve-producer.js', import.meta.url);
    const all = Array.from({ length: count }, () => fork(program, [redis]));
    await Promise.all(all.map((one) => once(one, 'message')));
    return new Producers(all);
  }

  get count(): number {
    return this.all.length;
  }

  async run(task: (at: number) => ProducerTask): Promise<ProducerResult[]> {
    return Promise.all(
      this.all.map(async (one, at) => {
        const answer = once(one, 'message');
        one.send(task(at));
        const [result] = (await answer) as [ProducerResult];
        if (result.kind === 'failed') throw new Error(result.why);
        return result;
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const one of this.all) one.disconnect();
    await Promise.all(this.all.filter((one) => one.exitCode === null).map((one) => once(one, 'exit')));
  }
}

interface WorkerView {
  device: string;
  provider: string;
}

/** `NVIDIA H100 80GB HBM3 GPU-...` -> `h100`. */
function shortName({ device, provider }: WorkerView): string {
  if (provider === 'cpu') return 'cpu';
  return (/\b([A-Z]{1,3}[0-9]{2,4}[A-Z]?)\b/.exec(device)?.[1] ?? 'gpu').toLowerCase();
}

async function checksumOf(url: string, model: Model, width: number): Promise<number> {
  const { dims, data } = lineOf(width);
  const input = { name: 'x', datatype: 'FP32', shape: dims, parameters: { binary_data_size: data.byteLength } };
  const head = Buffer.from(JSON.stringify({ inputs: [input], outputs: [{ name: CHECKSUM }] }));
  const answer = await fetch(`${url}/v2/models/${model}/infer`, {
    method: 'POST',
    headers: { 'inference-header-content-length': String(head.byteLength), 'content-type': 'application/octet-stream' },
    body: Buffer.concat([head, data]),
  });
  const body = (await answer.json()) as { outputs: { data: number[] }[] };
  const sum = body.outputs[0]?.data[0];
  if (sum === undefined) throw new Error(`${model} gave no checksum`);
  return sum;
}

const bytes = await recModel();
await using server = await startRedis();
await using folder = await BenchFolder.create();
const shapes = `shapes: ${JSON.stringify(WIDTHS.map(shapeKeyOf))}\n`;
await folder.add('rec', bytes, `${shapes}batch: { sizes: [${SIZES.join(', ')}] }\n`);
await folder.add('rec-1', bytes, shapes);
await folder.add('rec-cold', bytes, '');
await using system = await System.start({
  models: folder.models,
  redis: server.url,
  data: folder.data,
  device: values.device,
});
await system.untilReady(READY_MS);
const { workers } = (await (await fetch(`${system.url}/v1/workers`)).json()) as { workers: WorkerView[] };
const device = shortName(workers[0] ?? { device: 'cpu', provider: 'cpu' });
const [WIDTH = 160] = WIDTHS;
const checksum = await checksumOf(system.url, 'rec-cold', WIDTH);
const rows: Row[] = [];

// ---- at the worker ----------------------------------------------------------------------------------------------------

await using producers = await Producers.start(server.url);
const task = { width: WIDTH, checksum, warmMs: WARM_MS, measureMs: MEASURE_MS };
const saturated = new Map<Model, number[]>(MODELS.map((model) => [model, []]));
for (let turn = 0; turn < ROUNDS; turn += 1) {
  for (const model of MODELS) {
    const inFlight = Math.max(1, Math.round((model === 'rec-cold' ? 8 : IN_FLIGHT) / producers.count));
    const results = await producers.run(() => ({ ...task, kind: 'closed', model, inFlight }));
    const sum = results.reduce((all, result) => all + (result.kind === 'closed' ? result.run.perSecond : 0), 0);
    saturated.get(model)?.push(sum);
  }
}
const saturation = (model: Model): number => median(saturated.get(model) ?? []);
for (const model of MODELS) {
  rows.push({
    what: `at the worker: saturated, width ${WIDTH}`,
    lanes: LANES[model],
    inFlight: model === 'rec-cold' ? 8 : IN_FLIGHT,
    runs: ROUNDS,
    perSecond: round(saturation(model), 1),
  });
}
const at70: OpenRun[] = [];
for (let turn = 0; turn < ROUNDS; turn += 1) {
  const perSecond = (0.7 * saturation('rec')) / producers.count;
  const seed = turn * 16;
  const results = await producers.run((at) => ({
    ...task,
    kind: 'open',
    model: 'rec',
    perSecond,
    seed: seed + at + 1,
  }));
  at70.push(together(results.flatMap((result) => (result.kind === 'open' ? [result.run] : []))));
}
for (const run of at70) rows.push(openRow(`at the worker: 70 %, width ${WIDTH}`, LANES.rec, run));
const p99OverP50 = at70.map(({ outcomes }) => {
  const ms = outcomes.map((outcome) => outcome.ms);
  return percentile(ms, 99) / percentile(ms, 50);
});

// ---- over HTTP --------------------------------------------------------------------------------------------------------

const lines = new HttpLines(system.url, WIDTHS, DEADLINE_MS);
let sent = 0;
const most = await closedLoop(IN_FLIGHT, WARM_MS, MEASURE_MS, async () => {
  sent += 1;
  await lines.send('rec', sent);
});
rows.push({ ...summarize(`over HTTP: saturated, widths ${WIDTHS.join(' and ')}`, [most]), lanes: LANES.rec });
for (const rate of RATES) {
  for (const model of MODELS) {
    const load = { warmMs: WARM_MS, measureMs: MEASURE_MS, seed: 7 };
    const run = await openLoop(rate * most.perSecond, load, (n) => lines.send(model, n));
    rows.push({ ...openRow(`over HTTP: ${rate * 100} %`, LANES[model], run), apiProcesses: 1 });
  }
}
await lines.close();

await writeResult(
  {
    name: 'serve',
    device,
    rows,
    figures: {
      serve: {
        saturationRatio: round(saturation('rec') / saturation('rec-1')),
        p99OverP50At70: round(median(p99OverP50)),
      },
    },
  },
  nvidiaDriverVersion() === null || device === 'cpu'
    ? {}
    : { gpu: workers[0]?.device ?? '', nvidiaDriver: nvidiaDriverVersion() ?? '' },
);
