import koffi, { type LibraryHandle } from 'koffi';
import { OrtError } from './ort-error.js';

/**
 * Stack of koffi's calls. Its 128 KiB for asynchronous calls are too few: CreateSession runs over them (SIGSEGV in
 * graph optimisation), 16 MiB is the most that koffi takes. Must be set before the first load.
 */
koffi.config({ async_stack_size: 16 * 2 ** 20, sync_stack_size: 8 * 2 ** 20 });

/** A collected library handle unloads the library under its function pointers, so every one lives as long as the process. */
const kept = new Map<string, LibraryHandle>();

const RTLD_NOW = 2;

/** Loads a shared library by path or soname, for good. Throws `missing-library` with the loader's words. */
export function loadLibrary(file: string): LibraryHandle {
  const known = kept.get(file);
  if (known !== undefined) return known;
  const problem = whyNotLoadable(file);
  if (problem !== null) throw new OrtError('missing-library', `cannot load ${file}: ${problem}`);
  const library = koffi.load(file);
  kept.set(file, library);
  return library;
}

/** The first of the files that loads, or null. */
export function loadFirst(files: readonly string[]): LibraryHandle | null {
  for (const file of files) {
    if (whyNotLoadable(file) === null) return loadLibrary(file);
  }
  return null;
}

interface Loader {
  dlopen(file: string, flags: number): bigint | null;
  dlerror(): string | null;
}

let loader: Loader | undefined;

function dynamicLoader(): Loader {
  if (loader === undefined) {
    // Since glibc 2.34 the two functions live in libc, and libdl only names them; it is there on every glibc.
    const library = koffi.load('libdl.so.2');
    kept.set('libdl.so.2', library);
    loader = {
      dlopen: library.func('void *dlopen(const char *file, int flags)'),
      dlerror: library.func('const char *dlerror()'),
    };
  }
  return loader;
}

/**
 * Loads a library and says why it does not load: koffi's own message leaves out the name, and it is the name of the
 * missing one (`libcudnn.so.9: cannot open shared object file`) that the user needs. Null: it loads, and stays loaded.
 */
export function whyNotLoadable(file: string): string | null {
  const { dlopen, dlerror } = dynamicLoader();
  if (dlopen(file, RTLD_NOW) !== null) return null;
  return dlerror() ?? 'unknown loader error';
}
