import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';

// Loaded into every process of the system by `--import`: writes the longest delay of its event loop each 250 ms.
// Appending is synchronous so that a process that is killed has said all; it takes some microseconds.

export interface ProbeSample {
  /** ms since 1970. */
  at: number;
  pid: number;
  title: string;
  maxMs: number;
}

const EVERY_MS = 250;
/** The monitor's own timer: what it measures is the delay beyond this. */
const RESOLUTION_MS = 1;

const folder = process.env.WARMLANE_PROBE_DIR;
if (folder !== undefined) {
  const monitor = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  monitor.enable();
  const timer = setInterval(() => {
    const sample: ProbeSample = {
      at: Date.now(),
      pid: process.pid,
      title: process.title,
      maxMs: Math.max(0, monitor.max / 1e6 - RESOLUTION_MS),
    };
    monitor.reset();
    appendFileSync(join(folder, `${process.pid}.jsonl`), `${JSON.stringify(sample)}\n`);
  }, EVERY_MS);
  timer.unref();
}
