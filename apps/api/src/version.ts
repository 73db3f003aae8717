import { readFileSync } from 'node:fs';
import { z } from 'zod';

/** Version of the server, as its package says. */
export const SERVER_VERSION = z
  .object({ version: z.string() })
  .parse(JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))).version;
