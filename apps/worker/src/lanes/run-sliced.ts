import { performance } from 'node:perf_hooks';
import { setImmediate } from 'node:timers/promises';
import type { Sliced } from '@warmlane/lanes';

/** Longest stretch of work before the loop may do other things: locks are renewed and heartbeats sent from it. */
const STRETCH_MS = 5;

/** Drives work on large tensors without blocking the event loop. */
export async function runSliced<T>(work: Sliced<T>): Promise<T> {
  let until = performance.now() + STRETCH_MS;
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
    if (performance.now() < until) continue;
    await setImmediate();
    until = performance.now() + STRETCH_MS;
  }
}
