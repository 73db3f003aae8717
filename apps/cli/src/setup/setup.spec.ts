import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommand } from '@warmlane/process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  CUDA_PROVIDER,
  cudaFolder,
  installCudaProvider,
  installedCudaProvider,
  type ProviderArchive,
} from './cuda-provider.js';
import { download } from './download.js';
import { explainMissing } from './missing-libraries.js';

let folder = '';
let server: Server;
let archive: Buffer;
let provider: ProviderArchive;
/** Range headers of the requests so far; `cut` ends the next answers after so many bytes. */
let asked: (string | undefined)[] = [];
let cut: number[] = [];
let tamper = false;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'warmlane-setup-'));
  const libs = join(folder, 'in', 'package', 'Plugins', 'Linux', 'x64');
  await mkdir(libs, { recursive: true });
  for (const name of ['shared', 'cuda', 'tensorrt']) {
    await writeFile(join(libs, `libonnxruntime_providers_${name}.so`), Buffer.alloc(200_000, name));
  }
  await writeFile(join(folder, 'libonnxruntime.so.1'), 'the library');
  await runCommand('tar', ['-czf', join(folder, 'a.tgz'), '-C', join(folder, 'in'), 'package']);
  archive = await readFile(join(folder, 'a.tgz'));
  const integrity = `sha512-${createHash('sha512').update(archive).digest('base64')}`;
  provider = { ...CUDA_PROVIDER, bytes: archive.byteLength, integrity };
  asked = [];
  cut = [];
  tamper = false;
  server = createServer((request, response) => {
    asked.push(request.headers.range);
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const rest = tamper ? Buffer.alloc(archive.byteLength - from) : archive.subarray(from);
    response.writeHead(from > 0 ? 206 : 200, { 'content-length': rest.byteLength });
    const bytes = cut.shift();
    if (bytes === undefined) response.end(rest);
    else response.write(rest.subarray(0, bytes), () => response.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(async () => {
  server.close();
  server.closeAllConnections();
  await rm(folder, { recursive: true });
});

const registry = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
const install = (over: Partial<Parameters<typeof installCudaProvider>[0]> = {}): Promise<string> =>
  installCudaProvider({
    cacheDir: join(folder, 'cache'),
    registry: registry(),
    ortLibrary: join(folder, 'libonnxruntime.so.1'),
    provider,
    ...over,
  });

describe('setup cuda', () => {
  it('puts the provider beside ONNX Runtime in the cache folder, once', async () => {
    const made = await install();
    expect(made).toBe(cudaFolder(join(folder, 'cache')));
    expect((await readdir(made)).sort()).toEqual([
      'libonnxruntime.so.1',
      'libonnxruntime_providers_cuda.so',
      'libonnxruntime_providers_shared.so',
    ]);
    expect((await stat(join(made, 'libonnxruntime_providers_cuda.so'))).size).toBe(200_000);
    expect(await readdir(join(folder, 'cache', 'downloads'))).toEqual([]);
    await install();
    expect(asked).toEqual([undefined]);
  });

  it('goes on where a connection or a run ended', async () => {
    cut = [100, 50, 25];
    const refused = await install().catch((error: Error) => error.message);
    const [, kept] = /(\d+) of \d+ bytes are in .*\.part: run this again/.exec(String(refused)) ?? [];
    await install();
    expect(asked).toHaveLength(4);
    // How much of a cut answer arrives is the kernel's affair; what arrived is not asked for again.
    expect(asked.at(-1)).toBe(kept === '0' ? undefined : `bytes=${kept}-`);
  });

  it('refuses what is not the archive that is meant, and keeps nothing of it', async () => {
    tamper = true;
    await expect(install()).rejects.toThrow(/is not what it should be: \d+ bytes with sha512-/);
    await expect(install({ archive: join(folder, 'libonnxruntime.so.1') })).rejects.toThrow(
      /not the archive that is meant/,
    );
    expect(await readdir(join(folder, 'cache', 'downloads'))).toEqual([]);
    tamper = false;
    await install();
  });

  it('takes an archive that was brought by other means', async () => {
    const sizeBefore = (await stat(join(folder, 'a.tgz'))).size;
    await install({ archive: join(folder, 'a.tgz'), registry: 'http://127.0.0.1:9/' });
    expect(asked).toEqual([]);
    // It is read where it lies, and stays there as it was.
    expect((await stat(join(folder, 'a.tgz'))).size).toBe(sizeBefore);
  });

  it('says what the server answered, or why there is none', async () => {
    const target = join(folder, 'x');
    const spec = { target, bytes: 10, integrity: 'sha512-x' };
    await expect(download({ ...spec, url: 'http://127.0.0.1:9/x' })).rejects.toThrow(
      /Cannot download .*: .+\. 0 of 10 bytes/,
    );
  });

  it('is used where there is a GPU alone', async () => {
    expect(await installedCudaProvider(join(folder, 'nothing'))).toBeNull();
  });

  it('explains what else is missing by exact name', () => {
    expect(explainMissing([])).toEqual([]);
    const lines = explainMissing(['libcublasLt.so.13', 'libcudnn.so.9', 'libcuda.so.1', 'libz.so.1']);
    expect(lines.slice(0, 4)).toEqual([
      'libcublasLt.so.13: pip install nvidia-cublas',
      'libcudnn.so.9: pip install nvidia-cudnn-cu13',
      'libcuda.so.1: the NVIDIA driver',
      'libz.so.1: the package of your system that has it',
    ]);
  });
});
