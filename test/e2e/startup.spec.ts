import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { identityModel } from '@warmlane/testing';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

const CLI = fileURLToPath(new URL('../../apps/cli/dist/main.js', import.meta.url));
const READY = /^warmlane ready (http:\/\/127\.0\.0\.1:\d+)$/;
const waiting = { timeout: 60_000, interval: 100 };

let folder = '';
const started: ChildProcess[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'warmlane-startup-'));
  await mkdir(join(folder, 'models'));
});
afterEach(async () => {
  for (const child of started.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  }
  await vi.waitFor(async () => expect(await processesOf(folder)).toEqual([]), waiting);
  await rm(folder, { recursive: true });
});

interface Serving {
  child: ChildProcess;
  url: string;
  stdout: () => string;
}

async function serve(): Promise<Serving> {
  const child = spawn(process.execPath, [CLI, 'serve', '--http', '127.0.0.1:0', '--device', 'cpu'], {
    cwd: folder,
    env: { ...process.env, WARMLANE_DATA: join(folder, 'data'), WARMLANE_LOG_LEVEL: 'warn' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  started.push(child);
  let printed = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    printed += chunk;
  });
  const url = await vi.waitUntil(() => READY.exec(printed.trimEnd())?.[1], waiting);
  return { child, url, stdout: () => printed };
}

/** Command lines of the processes that work in this test's folder or have it in their environment; zombies have none. */
async function processesOf(marker: string): Promise<string[]> {
  const lines: string[] = [];
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) {
      continue;
    }
    const [environ, cmdline, cwd] = await Promise.all([
      readFile(`/proc/${pid}/environ`, 'utf8').catch(() => ''),
      readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''),
      readlink(`/proc/${pid}/cwd`).catch(() => ''),
    ]);
    if (environ.includes(marker) || cwd.includes(marker)) {
      lines.push(cmdline.replaceAll('\0', ' ').trim());
    }
  }
  return lines.filter((line) => line !== '');
}

describe('warmlane serve', () => {
  it('says ready once on stdout, carries its roles in the command lines, and ends with 0 at SIGTERM', async () => {
    const { child, url, stdout } = await serve();
    expect((await fetch(`${url}/health/live`)).status).toBe(200);
    await vi.waitFor(async () => {
      const lines = await processesOf(folder);
      for (const role of [/^warmlane serve/, /^warmlane api/, /^warmlane worker/, /redis-server 127\.0\.0\.1:\d+$/]) {
        expect(lines.filter((line) => role.test(line))).toHaveLength(1);
      }
    }, waiting);
    child.kill('SIGTERM');
    const [code, signal] = await once(child, 'exit');
    expect({ code, signal }).toEqual({ code: 0, signal: null });
    expect(stdout()).toBe(`warmlane ready ${url}\n`);
    expect(await processesOf(folder)).toEqual([]);
  });

  it('is ready only when every lane of the repository is, the first look at it included', async () => {
    // The first has nothing to warm, the last the most: none of them may count before the others are known.
    const yamls = { a: '', b: 'shapes: ["x:float32[1,3]"]', c: 'shapes: ["x:float32[2,3]", "x:float32[4,3]"]' };
    for (const [name, yaml] of Object.entries(yamls)) {
      const version = join(folder, 'models', name, '1');
      await mkdir(version, { recursive: true });
      await writeFile(join(version, 'model.onnx'), identityModel('float32', ['N', 3]));
      if (yaml !== '') await writeFile(join(version, 'warmlane.yaml'), yaml);
    }
    const { url } = await serve();
    let answer = await fetch(`${url}/health/ready`);
    const until = performance.now() + waiting.timeout;
    while (answer.status !== 200 && performance.now() < until) {
      await answer.arrayBuffer();
      answer = await fetch(`${url}/health/ready`);
    }
    expect(answer.status).toBe(200);
    const { lanes } = (await (await fetch(`${url}/v1/lanes`)).json()) as { lanes: { model: string; state: string }[] };
    expect(lanes.map(({ model, state }) => `${model} ${state}`).sort()).toEqual(['b READY', 'c READY', 'c READY']);
  });

  it('asks for patience for a model that is on disk and not yet loaded, and knows what is not there afterwards', async () => {
    const version = join(folder, 'models', 'echo', '1');
    await mkdir(version, { recursive: true });
    await writeFile(join(version, 'model.onnx'), identityModel('float32', ['N']));
    const { url } = await serve();
    const infer = (model: string) =>
      fetch(`${url}/v2/models/${model}/infer`, {
        method: 'POST',
        body: JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1], data: [7] }] }),
      });
    const statuses = new Set<number>();
    const answer = await vi.waitUntil(async () => {
      const tried = await infer('echo');
      statuses.add(tried.status);
      if (tried.status !== 503) return tried;
      expect(Number(tried.headers.get('retry-after'))).toBeGreaterThan(0);
      return null;
    }, waiting);
    expect(await answer.json()).toMatchObject({ outputs: [{ data: [7] }] });
    // Whether it was 503 before is a matter of who was first; a 404 would have been wrong.
    expect([...statuses].filter((status) => status !== 503)).toEqual([200]);
    // The worker says that it has loaded everything a moment after its models are there.
    await vi.waitUntil(async () => (await infer('nobody')).status === 404, waiting);
  });

  it('leaves no process behind when it is killed, and starts again on the same data', async () => {
    const first = await serve();
    await vi.waitFor(async () => expect((await processesOf(folder)).join()).toContain('warmlane worker'), waiting);
    first.child.kill('SIGKILL');
    await once(first.child, 'exit');
    await vi.waitFor(async () => expect(await processesOf(folder)).toEqual([]), waiting);
    const second = await serve();
    expect((await fetch(`${second.url}/health/live`)).status).toBe(200);
  });

  it('tells a mistake in one line on stderr and starts nothing', async () => {
    const child = spawn(process.execPath, [CLI, 'serve', '--http', '0.0.0.0:8000'], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    started.push(child);
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      stdout += chunk;
    });
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      stderr += chunk;
    });
    const [code] = await once(child, 'close');
    expect(code).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^warmlane: --http .* without a key\. Set WARMLANE_API_KEYS=.*\n$/);
  });
});
