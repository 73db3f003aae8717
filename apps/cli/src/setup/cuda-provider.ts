import { chmod, copyFile, mkdir, mkdtemp, rename, rm, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { findNvidiaDevices, runCommand, SetupError } from '@warmlane/process';
import { download, integrityOf } from './download.js';

/** An archive with a CUDA provider, and what is taken out of it. */
export interface ProviderArchive {
  /** Path below an npm registry. */
  path: string;
  bytes: number;
  integrity: string;
  members: readonly string[];
}

/** The only ONNX Runtime that the archive below goes with: a provider of another version does not load. */
const ORT_VERSION = '1.29.0';
const NPM_PACKAGE = 'com.github.asus4.onnxruntime.linux-x64-gpu';

/** ONNX Runtime's own build for CUDA 13 and cuDNN 9, as an npm package carries it. */
export const CUDA_PROVIDER: ProviderArchive = {
  path: `${NPM_PACKAGE}/-/${NPM_PACKAGE}-0.4.9.tgz`,
  bytes: 179_145_956,
  integrity: 'sha512-FopIhNE/Ng+v2X65wVc9clPCBCvhvA53Hxo2U0Kf5fGdVsC7iCA+mZ0KLWggcQAj7TIZ6pNidR4AC10g74Xo6w==',
  members: [
    'package/Plugins/Linux/x64/libonnxruntime_providers_shared.so',
    'package/Plugins/Linux/x64/libonnxruntime_providers_cuda.so',
  ],
};

export const ORT_LIBRARY = 'libonnxruntime.so.1';

/** Where `setup cuda` puts the libraries, below the cache folder. */
export function cudaFolder(cacheDir: string): string {
  return join(cacheDir, `onnxruntime-${ORT_VERSION}-cuda13`);
}

export interface InstallOptions {
  cacheDir: string;
  /** An npm registry. */
  registry: string;
  /** The archive, brought here by other means: nothing is downloaded. */
  archive?: string | undefined;
  /** `libonnxruntime.so.1` of the installed package. */
  ortLibrary: string;
  provider?: ProviderArchive;
  onProgress?: (text: string) => void;
}

/** The library of the installed onnxruntime-node. @throws SetupError where it is of another version, or not for this system */
export async function packageLibrary(): Promise<string> {
  const require = createRequire(import.meta.url);
  const manifest = require.resolve('onnxruntime-node/package.json');
  const { version } = require(manifest) as { version: string };
  if (version !== ORT_VERSION) {
    throw new SetupError(
      `onnxruntime-node is ${version}, and there is a CUDA provider for ${ORT_VERSION} only: run npm ci, or set ` +
        `ORT_LIB_DIR to the folder of a whole build with its CUDA provider`,
    );
  }
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new SetupError(
      `There is a CUDA provider for linux/x64 only, this is ${process.platform}/${process.arch}: set ORT_LIB_DIR to a build`,
    );
  }
  return join(dirname(manifest), 'bin', 'napi-v6', 'linux', 'x64', ORT_LIBRARY);
}

/**
 * Brings the CUDA provider and puts it beside a copy of ONNX Runtime, into the cache folder; made in one rename. What is
 * there and whole stays. @returns the folder, for ORT_LIB_DIR
 */
export async function installCudaProvider(options: InstallOptions): Promise<string> {
  const { cacheDir, registry, ortLibrary, provider = CUDA_PROVIDER, onProgress = () => undefined } = options;
  const folder = cudaFolder(cacheDir);
  if (await isWhole(folder)) return folder;
  const archive = options.archive ?? join(cacheDir, 'downloads', 'onnxruntime-cuda13.tgz');
  if (options.archive === undefined) {
    const url = `${registry.replace(/\/$/, '')}/${provider.path}`;
    onProgress(`downloading ${url} (${Math.round(provider.bytes / 1e6)} MB)`);
    await download({ url, target: archive, bytes: provider.bytes, integrity: provider.integrity });
  } else if ((await integrityOf(archive).catch(String)) !== provider.integrity) {
    throw new SetupError(
      `${archive} cannot be read or is not the archive that is meant: it has to be ${provider.path.split('/').at(-1)} of an npm ` +
        `registry, ${provider.bytes} bytes, ${provider.integrity}`,
    );
  }
  onProgress('unpacking');
  await mkdir(cacheDir, { recursive: true });
  const work = await mkdtemp(`${folder}.part-`);
  try {
    const depth = String((provider.members[0] ?? '').split('/').length - 1);
    const untar = await runCommand('tar', [
      '-xz',
      '--no-same-owner',
      '-f',
      archive,
      '-C',
      work,
      '--strip-components',
      depth,
      ...provider.members,
    ]);
    if (untar.code !== 0) {
      throw new SetupError(`tar could not unpack ${archive}: ${untar.stderr.trim() || 'is tar installed?'}`);
    }
    await copyFile(ortLibrary, join(work, ORT_LIBRARY));
    // Made for this user alone, as temporary folders are; others of the machine may run it.
    await chmod(work, 0o755);
    await rename(work, folder).catch(async (error: unknown) => {
      // Another run was as quick; what was left half-made by hand goes.
      if (await isWhole(folder)) return;
      await rm(folder, { recursive: true, force: true });
      await rename(work, folder).catch(() => Promise.reject(error));
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  if (options.archive === undefined) await rm(archive);
  return folder;
}

async function isWhole(folder: string): Promise<boolean> {
  const names = [ORT_LIBRARY, 'libonnxruntime_providers_shared.so', 'libonnxruntime_providers_cuda.so'];
  const sizes = await Promise.all(
    names.map(async (name) => (await stat(join(folder, name)).catch(() => null))?.size ?? 0),
  );
  return sizes.every((size) => size > 0);
}

/** What `setup cuda` brought, where this machine has a GPU to use it for; else null. */
export async function installedCudaProvider(cacheDir: string): Promise<string | null> {
  const folder = cudaFolder(cacheDir);
  return (await isWhole(folder)) && (await findNvidiaDevices()).length > 0 ? folder : null;
}
