import { randomFillSync } from 'node:crypto';

const ID_BYTES = 16;
/** Random bytes for 256 ids are fetched at once: a fetch costs as much as the rest of an id. */
const pool = Buffer.alloc(256 * ID_BYTES);
let used = pool.byteLength;

/** 128 random bits in hex: lane, warm-up, request and blob ids. */
export function newId(): string {
  if (used === pool.byteLength) {
    randomFillSync(pool);
    used = 0;
  }
  used += ID_BYTES;
  return pool.toString('hex', used - ID_BYTES, used);
}

export function isId(text: string): boolean {
  return /^[0-9a-f]{32}$/.test(text);
}

const MODEL_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const VERSION = /^[0-9]{1,18}$/;

export function isModelName(text: string): boolean {
  return MODEL_NAME.test(text);
}

export function isVersion(text: string): boolean {
  return VERSION.test(text);
}

/** Orders versions as numbers, lowest first. */
export function compareVersions(a: string, b: string): number {
  const left = BigInt(a);
  const right = BigInt(b);
  return left < right ? -1 : left > right ? 1 : 0;
}
