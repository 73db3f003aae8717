import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');

/** A full garbage collection, and pages of fresh objects over what was collected. */
export function pressure(): void {
  const collect = runInNewContext('gc') as () => void;
  for (let round = 0; round < 3; round += 1) {
    collect();
    const garbage = Array.from({ length: 64 }, () => new Uint8Array(64 * 1024).fill(0xa5));
    if (garbage.length === 0) throw new Error('unreachable');
  }
  collect();
}
