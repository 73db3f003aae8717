import { fileURLToPath } from 'node:url';

/** The compiled programs of the children, from this file's place in `src` or `dist`. */
export const RUNTIME_PROGRAM = fileURLToPath(new URL('../../../runtime/dist/main.js', import.meta.url));
export const REFERENCE_PROGRAM = fileURLToPath(new URL('../../../reference/dist/main.js', import.meta.url));

export type Environment = Readonly<Record<string, string | undefined>>;
