import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { SetupError } from './setup.error.js';

// Below Linux's ephemeral range (32768-60999): a port from there can be taken by any outgoing connection while a server
// that must come back on the same port is down.
const LOWEST = 20_000;
const HIGHEST = 32_000;
const TRIES = 100;

/** Whether this host and port can be listened on now. Port 0 is always free. */
export function isPortFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ host, port, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}

/** A random port that nothing listens on at this moment. Another process may still take it first: be ready to try again. */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const port = randomInt(LOWEST, HIGHEST);
    if (await isPortFree(host, port)) {
      return port;
    }
  }
  throw new SetupError(
    `No free port found on ${host} in ${TRIES} tries between ${LOWEST} and ${HIGHEST}: stop some servers.`,
  );
}
