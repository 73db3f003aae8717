import type { ServerResponse } from 'node:http';

/** Aborted when the client leaves before its answer was written. */
export function abortedBy(response: ServerResponse): AbortSignal {
  const controller = new AbortController();
  response.once('close', () => {
    if (!response.writableFinished) controller.abort();
  });
  return controller.signal;
}
