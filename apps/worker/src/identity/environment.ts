import { createHash } from 'node:crypto';
import type { RuntimeHello } from '@warmlane/contracts';

/** SHA-256 of the environment fingerprint: keys quarantines and stands in warm records. */
export function environmentDigest(environment: RuntimeHello['environment']): string {
  const sorted = Object.entries(environment).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(sorted)).digest('hex');
}

/** `<host>-<device>`: what a worker's id begins with. Characters that an id may not hold become `_`. */
export function slotBaseOf(host: string, device: string): string {
  const clean = (text: string, most: number) => text.replaceAll(/[^A-Za-z0-9._-]/g, '_').slice(0, most);
  return `${clean(host, 60)}-${clean(device, 60)}`;
}
