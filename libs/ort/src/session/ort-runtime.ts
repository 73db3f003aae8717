import { check, type OrtApi, pointerInArray, readApi, textAt } from '../native/api.js';
import { loadLibrary } from '../native/dynamic-library.js';
import { type EnvHandle, filled, Handle, type Out, type Pointer } from '../native/handle.js';
import { locateLibrary } from '../native/locate.js';
import { OrtError } from '../native/ort-error.js';

export interface OrtRuntimeOptions {
  /** Folder of another ONNX Runtime build, with its providers; default: the installed package onnxruntime-node. */
  libDir?: string;
  /** What the library writes to stderr: 0 verbose, 1 info, 2 warning, 3 error (default), 4 fatal. */
  logSeverity?: 0 | 1 | 2 | 3 | 4;
}

const ERROR_SEVERITY = 3;

let loaded: OrtRuntime | undefined;

/**
 * ONNX Runtime in this process: the library and its one environment. `load` gives the same object again; another
 * `libDir` is refused, since two builds in one process do not work.
 */
export class OrtRuntime {
  readonly api: OrtApi;
  /** For instance `1.29.0`. */
  readonly version: string;
  readonly libraryPath: string;
  readonly #env: EnvHandle;

  private constructor(libraryPath: string, options: OrtRuntimeOptions) {
    const { api, version } = readApi(loadLibrary(libraryPath), libraryPath);
    const out: Out<Pointer<'Env'>> = [null];
    check(api, api.createEnv(options.logSeverity ?? ERROR_SEVERITY, 'warmlane', out));
    this.api = api;
    this.version = version;
    this.libraryPath = libraryPath;
    this.#env = new Handle('Env', filled(out, 'CreateEnv'), api.releaseEnv);
  }

  /** Throws `missing-library` naming the library, `not-supported` for one too old. */
  static load(options: OrtRuntimeOptions = {}): OrtRuntime {
    const libraryPath = locateLibrary(options.libDir);
    if (loaded !== undefined && !loaded.#env.closed) {
      if (loaded.libraryPath === libraryPath) return loaded;
      throw new OrtError(
        'not-supported',
        `ONNX Runtime of ${loaded.libraryPath} is loaded already, ${libraryPath} cannot be loaded beside it`,
        'Use one build per process.',
      );
    }
    loaded = new OrtRuntime(libraryPath, options);
    return loaded;
  }

  /** Throws `closed` after `close()`. */
  get env(): Pointer<'Env'> {
    return this.#env.pointer;
  }

  /** Names of the providers that the library was built for; whether one loads here is another question. */
  builtProviders(): string[] {
    const names: Out<bigint> = [null];
    const count: Out<number> = [null];
    check(this.api, this.api.getAvailableProviders(names, count));
    const array = filled(names, 'GetAvailableProviders');
    const total = count[0] ?? 0;
    const list = Array.from({ length: total }, (_, at) => textAt(pointerInArray(array, at)));
    check(this.api, this.api.releaseAvailableProviders(array, total));
    return list;
  }

  /** Releases the environment; close every session before. The library itself stays loaded. */
  close(): void {
    this.#env.close();
  }
}
