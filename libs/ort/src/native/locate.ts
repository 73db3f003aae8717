import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { OrtError } from './ort-error.js';

const require = createRequire(import.meta.url);

const SONAME = 'libonnxruntime.so.1';

/**
 * Path of the ONNX Runtime library: in `libDir` if given (another build, for instance one with its CUDA provider beside
 * it), else the one of the installed package `onnxruntime-node`. Throws `missing-library`.
 */
export function locateLibrary(libDir?: string): string {
  if (libDir !== undefined) {
    const file = path.join(libDir, SONAME);
    if (existsSync(file)) return path.resolve(file);
    throw new OrtError('missing-library', `no ${SONAME} in ${libDir}`, 'Set ORT_LIB_DIR to the folder that holds it.');
  }
  const bin = path.join(packageFolder(), 'bin');
  for (const napi of existsSync(bin) ? readdirSync(bin) : []) {
    const file = path.join(bin, napi, 'linux', process.arch, SONAME);
    if (existsSync(file)) return file;
  }
  throw new OrtError(
    'missing-library',
    `onnxruntime-node has no ${SONAME} for ${process.platform}/${process.arch}`,
    'Warmlane runs on Linux, x64 or arm64; ORT_LIB_DIR names another build.',
  );
}

function packageFolder(): string {
  try {
    return path.dirname(require.resolve('onnxruntime-node/package.json'));
  } catch (cause) {
    throw new OrtError('missing-library', 'the package onnxruntime-node is not installed', 'Run npm ci.', { cause });
  }
}
