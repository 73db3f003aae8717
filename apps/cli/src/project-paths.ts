import { fileURLToPath } from 'node:url';

/** The checkout that this program was built in. */
export const projectRoot = fileURLToPath(new URL('../../../', import.meta.url));

/** The compiled entry of an app: `apps/<app>/dist/main.js`. */
export function appMain(app: 'api' | 'worker'): string {
  return fileURLToPath(new URL(`../../${app}/dist/main.js`, import.meta.url));
}
