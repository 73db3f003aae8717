import path from 'node:path';
import { WarmlaneError } from '@warmlane/contracts';
import { lockFile } from './process-control.js';

/** A runtime that was killed lets go of its device within this; a CUDA context takes about a second. */
const WAIT_MS = 5000;
const POLL_MS = 100;

/** Takes the device for this process. Throws `device-busy` naming the holder where it does not become free. */
export async function lockDevice(folder: string, uuid: string, waitMs = WAIT_MS): Promise<void> {
  const file = path.join(folder, `warmlane-${uuid}.lock`);
  const giveUpMs = performance.now() + waitMs;
  for (;;) {
    const result = lockFile(file);
    if (!result.held) return;
    if (performance.now() > giveUpMs) {
      throw new WarmlaneError(
        'device-busy',
        `device ${uuid} is held by another runtime (process ${result.by})`,
        `Stop the other worker, or give this one another device. The lock is ${file}.`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
