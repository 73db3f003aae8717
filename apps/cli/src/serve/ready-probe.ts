import { setTimeout as wait } from 'node:timers/promises';
import { type HttpAddress, printAddress, reachableAddress } from '@warmlane/process';

const POLL_MS = 100;
const ANSWER_MS = 2_000;

/**
 * Resolves true once GET /health/live answers 200 while `isOurs` (another program on the port would answer too), false
 * when `stop` is aborted first.
 */
export async function untilLive(address: HttpAddress, isOurs: () => boolean, stop: AbortSignal): Promise<boolean> {
  const url = `http://${printAddress(reachableAddress(address))}/health/live`;
  while (!stop.aborted) {
    if (isOurs() && (await answersOk(url, stop)) && isOurs()) {
      return true;
    }
    await wait(POLL_MS, undefined, { signal: stop }).catch(() => undefined);
  }
  return false;
}

async function answersOk(url: string, stop: AbortSignal): Promise<boolean> {
  try {
    const answer = await fetch(url, {
      headers: { connection: 'close' },
      signal: AbortSignal.any([stop, AbortSignal.timeout(ANSWER_MS)]),
    });
    await answer.arrayBuffer();
    return answer.status === 200;
  } catch {
    return false;
  }
}
