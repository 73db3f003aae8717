import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { OrtRuntime } from '@warmlane/ort';
import { runCommand } from '@warmlane/process';
import type { OrtProbe } from './ort-probe.schema.js';

// A program of its own: loading a broken native library may end the process. Prints one JSON object on stdout.
// Argument: the folder of another ONNX Runtime build, or nothing.

const PROVIDER = 'libonnxruntime_providers_cuda.so';
const CUDNN = 'libcudnn.so.9';
const SHARED = 'libonnxruntime_providers_shared.so';

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Loads a library as the dynamic linker would for ONNX Runtime; null, or why it does not load. */
function dlopenProblem(path: string): string | null {
  try {
    process.dlopen({ exports: {} }, path, constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL);
    return null;
  } catch (error) {
    const message = messageOf(error);
    // Node says this of every library that loaded and is no Node addon.
    return message.includes('did not self-register') ? null : message;
  }
}

/** Names from `ldd`'s lines `libcudnn.so.9 => not found`, and from the loader's own message if ldd is not there. */
async function missingLibraries(path: string, problem: string): Promise<string[]> {
  const ldd = await runCommand('ldd', [path]);
  const names = [...ldd.stdout.matchAll(/^\s*(\S+) => not found/gm)].map((match) => match[1] ?? '');
  const own = /^([^\s/:]+\.so[.\d]*): cannot open shared object file/.exec(problem)?.[1];
  return [...new Set(own === undefined ? names : [own, ...names])];
}

async function probeCuda(libraryPath: string): Promise<OrtProbe['cuda']> {
  const folder = dirname(libraryPath);
  const provider = join(folder, PROVIDER);
  if (!existsSync(provider)) {
    const reason =
      `${PROVIDER} is not beside ${libraryPath}: run './warmlane setup cuda', or set ORT_LIB_DIR to the folder of an ` +
      `ONNX Runtime build for CUDA`;
    return { loadable: false, libraryPath: null, missing: [PROVIDER], reason };
  }
  const problem = dlopenProblem(join(folder, SHARED)) ?? dlopenProblem(provider);
  // The provider itself asks for it only when a convolution wants it.
  const withoutCudnn = dlopenProblem(CUDNN);
  if (problem === null && withoutCudnn === null) {
    return { loadable: true, libraryPath: provider, missing: [], reason: '' };
  }
  const missing = problem === null ? [] : await missingLibraries(provider, problem);
  if (withoutCudnn !== null) missing.push(CUDNN);
  const reason =
    missing.length === 0 ? (problem ?? '') : `${PROVIDER} needs ${missing.join(', ')}, not found by the loader`;
  return { loadable: false, libraryPath: provider, missing, reason };
}

async function probe(libDir: string | undefined): Promise<OrtProbe> {
  try {
    const runtime = OrtRuntime.load({ libDir });
    const { version, libraryPath } = runtime;
    const builtProviders = runtime.builtProviders();
    return { version, libraryPath, builtProviders, reason: '', cuda: await probeCuda(libraryPath) };
  } catch (error) {
    const reason = messageOf(error);
    const cuda = { loadable: false, libraryPath: null, missing: [], reason: 'ONNX Runtime itself does not load' };
    return { version: null, libraryPath: null, builtProviders: [], reason, cuda };
  }
}

process.stdout.write(JSON.stringify(await probe(process.argv[2])));
