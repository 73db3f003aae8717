import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findNvidiaDevices } from '@warmlane/process';
import { convReluModel } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../support/worker-rig.js';

const CLI = fileURLToPath(new URL('../../apps/cli/dist/main.js', import.meta.url));
const SHAPES = ['x:float32[1,3,16,16]', 'x:float32[2,3,16,16]'];

interface LaneView {
  shapeKey: string;
  worker: string;
  state: string;
}
interface WorkerView {
  id: string;
  device: string;
  provider: string;
  state: string;
}

let folder = '';
let child: ChildProcess;
let url = '';
/** Two GPUs where there are two, else the CPU twice. */
let onGpus = false;

beforeAll(async () => {
  onGpus = (await findNvidiaDevices()).length >= 2;
  folder = await mkdtemp(join(tmpdir(), 'warmlane-devices-'));
  const version = join(folder, 'models', 'conv', '1');
  await mkdir(version, { recursive: true });
  await writeFile(join(version, 'model.onnx'), convReluModel());
  await writeFile(join(version, 'warmlane.yaml'), `replicas: 2\nshapes: ${JSON.stringify(SHAPES)}\n`);
  const device = onGpus ? ['--device', 'auto'] : ['--device', 'cpu', '--workers', '2'];
  child = spawn(process.execPath, [CLI, 'serve', '--http', '127.0.0.1:0', ...device], {
    cwd: folder,
    env: { ...process.env, WARMLANE_DATA: join(folder, 'data'), WARMLANE_LOG_LEVEL: 'warn' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let printed = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    printed += chunk;
  });
  url = await until('the ready line', () => Promise.resolve(/^warmlane ready (\S+)$/m.exec(printed)?.[1] ?? null));
});
afterAll(async () => {
  child.kill('SIGTERM');
  const [code] = await once(child, 'exit');
  await rm(folder, { recursive: true, force: true });
  expect(code).toBe(0);
});

async function get<T>(path: string): Promise<T> {
  return (await (await fetch(`${url}${path}`)).json()) as T;
}

describe('two devices of one machine', () => {
  it('have a worker each, and every shape is warm on both', async () => {
    const workers = await until('two serving workers', async () => {
      const found = (await get<{ workers: WorkerView[] }>('/v1/workers')).workers;
      return found.length === 2 && found.every((worker) => worker.state === 'serving') ? found : null;
    });
    expect(new Set(workers.map((worker) => worker.id)).size).toBe(2);
    expect(new Set(workers.map((worker) => worker.provider))).toEqual(new Set([onGpus ? 'cuda' : 'cpu']));
    expect(new Set(workers.map((worker) => worker.device)).size).toBe(onGpus ? 2 : 1);
    const lanes = await until('each shape READY on both', async () => {
      const found = (await get<{ lanes: LaneView[] }>('/v1/lanes')).lanes.filter((lane) => lane.state === 'READY');
      return found.length === 2 * SHAPES.length ? found : null;
    });
    for (const { id } of workers) {
      expect(lanes.filter((lane) => lane.worker === id).map((lane) => lane.shapeKey)).toEqual(
        expect.arrayContaining(SHAPES),
      );
    }
  });

  it('answer from warm lanes', async () => {
    const data = Array.from({ length: 3 * 16 * 16 }, (_, at) => Math.sin(at));
    const body = JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 3, 16, 16], data }] });
    const answers = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const answer = await fetch(`${url}/v2/models/conv/infer`, { method: 'POST', body });
        const { outputs } = (await answer.json()) as { outputs: { data: number[] }[] };
        return { lane: answer.headers.get('warmlane-lane'), first: outputs[0]?.data.slice(0, 8) };
      }),
    );
    expect(new Set(answers.map(({ lane }) => lane))).toEqual(new Set(['ready']));
    const [one] = answers;
    for (const { first } of answers) {
      expect(first).toEqual((one?.first ?? []).map((value) => expect.closeTo(value, 2)));
    }
  });
});
