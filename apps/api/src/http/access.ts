import { createHash, timingSafeEqual } from 'node:crypto';
import { type ApiKey, type ApiRole, WarmlaneError } from '@warmlane/contracts';

/** Who sent a request: the key's id, empty where no keys are set and one owner has everything. */
export interface Caller {
  readonly id: string;
  readonly role: ApiRole;
}

const NOBODY: Caller = { id: '', role: 'admin' };

export type Access = 'open' | ApiRole;

const READS = new Set(['GET', 'HEAD']);
const INFER_POSTS = [
  /^\/v2\/models\/:model(\/versions\/:version)?\/infer$/,
  /^\/v2\/repository\/index$/,
  /^\/v1\/models\/:model\/versions\/:version\/infer$/,
];

/**
 * What a route asks for: `infer` for the protocol's reads and inferences and for asynchronous inferences, `admin` for
 * the rest. Routes that are not listed here ask for `admin`, so that a new one is closed until somebody opens it.
 */
export function accessOf(method: string, route: string, loopback: boolean): Access {
  if (route.startsWith('/health/') || route.startsWith('/v2/health/')) return 'open';
  if (route === '/metrics') return loopback ? 'open' : 'admin';
  if (READS.has(method)) {
    const forAll =
      route === '/v2' || route.startsWith('/v2/') || route.startsWith('/docs') || route === '/v1/inferences/:id';
    return forAll ? 'infer' : 'admin';
  }
  return INFER_POSTS.some((pattern) => pattern.test(route)) ? 'infer' : 'admin';
}

/** Checks keys against their digests in constant time. */
export class KeyRing {
  readonly #keys: { caller: Caller; digest: Buffer }[];

  constructor(keys: readonly ApiKey[]) {
    this.#keys = keys.map((key) => ({
      caller: { id: key.id, role: key.role },
      digest: Buffer.from(key.sha256, 'hex'),
    }));
  }

  /** The caller, where the header allows the access; throws `unauthorized` or `forbidden`. */
  admit(authorization: string | undefined, access: Access): Caller {
    if (this.#keys.length === 0 || access === 'open') return NOBODY;
    const caller = this.#find(authorization);
    if (access === 'admin' && caller.role !== 'admin') {
      throw new WarmlaneError(
        'forbidden',
        `key '${caller.id}' has the role ${caller.role}, this needs admin`,
        'Use an admin key.',
      );
    }
    return caller;
  }

  #find(authorization: string | undefined): Caller {
    const key = /^bearer +(\S+) *$/i.exec(authorization ?? '')?.[1];
    if (key === undefined) {
      throw new WarmlaneError('unauthorized', 'an API key is needed', 'Send the header authorization: Bearer KEY.');
    }
    const digest = createHash('sha256').update(key).digest();
    // Every key is compared, so that the time does not tell which one came close.
    let found: Caller | null = null;
    for (const entry of this.#keys) {
      if (timingSafeEqual(entry.digest, digest)) found = entry.caller;
    }
    if (found === null) throw new WarmlaneError('unauthorized', 'the API key is not known', 'Check WARMLANE_API_KEYS.');
    return found;
  }
}
