import { decodeName, encodeName } from '@warmlane/contracts';
import { KEY_TABLE, type KeyKind } from './key-table.js';

/** Hash tag and BullMQ prefix: every key of Warmlane lies in one slot, so that a script may touch several of them. */
export const PREFIX = '{wl}';

/** Channel of {@link Notices}; not a key. */
export const NOTICES_CHANNEL = `${PREFIX}:notices`;

function at(kind: KeyKind, ...parts: string[]): string {
  return [PREFIX, kind, ...parts.map(encodeName)].join(':');
}

/**
 * One producer per key; the only place that writes a key's text. Parts are percent-encoded, so a part may hold any
 * character. docs/redis-keys.md lists type, owner, bound and time to live of each.
 */
export const keys = {
  models: () => at('models'),
  versions: (name: string) => at('versions', name),
  model: (name: string, version: string) => at('model', name, version),
  desired: () => at('desired'),
  loadAnswers: (name: string) => at('load-answers', name),
  stats: (name: string, version: string) => at('stats', name, version),
  plan: (model: string, version: string) => at('plan', model, version),
  warmUp: (id: string) => at('warm-up', id),
  warmUpDigest: (digest: string) => at('warm-up-digest', digest),
  warmUpsUnfinished: () => at('warm-ups-unfinished'),
  warmLaneQueues: () => at('warm-lane-queues'),
  lane: (id: string) => at('lane', id),
  lanes: () => at('lanes'),
  workerLanes: (worker: string) => at('worker-lanes', worker),
  workerHoldings: (worker: string) => at('worker-holdings', worker),
  verifyRequests: (worker: string) => at('verify-requests', worker),
  evictRequests: (worker: string) => at('evict-requests', worker),
  holders: (model: string, version: string, shapeClass: string) => at('holders', model, version, shapeClass),
  padding: (model: string, version: string) => at('padding', model, version),
  classes: (model: string, version: string) => at('classes', model, version),
  workers: () => at('workers'),
  worker: (id: string) => at('worker', id),
  slot: (worker: string) => at('slot', worker),
  epoch: (worker: string) => at('epoch', worker),
  alive: (worker: string) => at('alive', worker),
  present: (worker: string) => at('present', worker),
  steps: (worker: string) => at('steps', worker),
  quarantine: (environment: string) => at('quarantine', environment),
  tuning: (environment: string, digest: string, basis: string, shapeKey: string) =>
    at('tuning', environment, digest, basis, shapeKey),
  tunings: () => at('tunings'),
  tuningClaim: (environment: string, digest: string) => at('tuning-claim', environment, digest),
  tuningStep: (environment: string, digest: string) => at('tuning-step', environment, digest),
  blob: (id: string) => at('blob', id),
  blobPiece: (id: string, piece: number) => at('blob', id, String(piece)),
  blobReservations: () => at('blob-reservations'),
  blobBytes: () => at('blob-bytes'),
  reply: (request: string) => at('reply', request),
  replies: (producer: string) => at('replies', producer),
  deaths: (request: string) => at('deaths', request),
  idempotency: (scope: string) => at('idempotency', scope),
  result: (request: string) => at('result', request),
} as const;

/** A key of ours, taken apart; `parts` are decoded and in the order of the producer's parameters. */
export interface ParsedKey {
  kind: KeyKind;
  parts: string[];
}

/** Inverse of {@link keys}; null for a text that none of them makes (a BullMQ key is parsed by {@link parseQueueKey}). */
export function parseKey(text: string): ParsedKey | null {
  const [prefix, kind, ...encoded] = text.split(':');
  if (prefix !== PREFIX || kind === undefined || !isKeyKind(kind)) return null;
  if (encoded.some((part) => part === '')) return null;
  const { parts: names, optional } = KEY_TABLE[kind];
  const most = names.length;
  const least = most - (optional ?? 0);
  if (encoded.length < least || encoded.length > most) return null;
  const parts = decodeAll(encoded);
  return parts === null ? null : { kind, parts };
}

function isKeyKind(text: string): text is KeyKind {
  return Object.hasOwn(KEY_TABLE, text);
}

/** null where a part is not in the form that {@link encodeName} gives, so that parse and print stay inverse. */
function decodeAll(encoded: readonly string[]): string[] | null {
  const parts: string[] = [];
  for (const part of encoded) {
    let decoded: string;
    try {
      decoded = decodeName(part);
    } catch {
      return null;
    }
    if (encodeName(decoded) !== part) return null;
    parts.push(decoded);
  }
  return parts;
}
