/** What one key is for; docs/redis-keys.md is this table, checked by a test. */
export interface KeyFacts {
  /** Names of the parts behind the kind, in order. */
  parts: readonly string[];
  /** How many of the last parts may be absent. */
  optional?: number;
  type: 'string' | 'hash' | 'set' | 'sorted set' | 'stream';
  /** The class that reads and writes it. */
  owner: string;
  holds: string;
  /** What limits how many there are, and how large. */
  bound: string;
  /** Time to live. */
  ttl: string;
}

const table = {
  models: {
    parts: [],
    type: 'set',
    owner: 'ModelStore',
    holds: 'names of the registered models',
    bound: 'one member per model',
    ttl: 'none; the last `remove` of a name takes it out',
  },
  versions: {
    parts: ['name'],
    type: 'set',
    owner: 'ModelStore',
    holds: 'registered versions of one model',
    bound: 'one member per version',
    ttl: 'none; until `remove`',
  },
  model: {
    parts: ['name', 'version'],
    type: 'hash',
    owner: 'ModelStore',
    holds: 'state, reason, digest, metadata, config, wasReady, retired, registeredAt',
    bound: 'one per registered version',
    ttl: 'none; until `remove`',
  },
  desired: {
    parts: [],
    type: 'hash',
    owner: 'ModelStore',
    holds: '`name/version` or `name/` -> `load` or `unload`, as the repository API asked',
    bound: 'one field per version that was ever loaded or unloaded by hand',
    ttl: 'none; until `remove`',
  },
  stats: {
    parts: ['name', 'version'],
    type: 'hash',
    owner: 'StatsStore',
    holds: 'counts and nanoseconds of the statistics extension',
    bound: 'one per version that served; 13 fields, and 8 per batch size seen',
    ttl: '30 days after the last request',
  },
  plan: {
    parts: ['model', 'version'],
    type: 'hash',
    owner: 'PlanStore, WarmupStore',
    holds:
      'the warm plan: `d <shape>` declared, `k <shape>` kept from a finished warm-up, `w <shape> <warm-up>` unfinished warm-up, `h <shape> <worker>` held back, `revision`, `declared` (digest)',
    bound: 'per shape at most 2 fields, and one per unfinished warm-up and per worker that holds it back',
    ttl: 'none; until the shapes leave the plan',
  },
  'warm-up': {
    parts: ['id'],
    type: 'hash',
    owner: 'WarmupStore',
    holds: 'one warm-up: request, generation, assignments, canceled, final view',
    bound: 'one per warm-up of the last 24 h',
    ttl: 'deadline + 24 h; 24 h from the end',
  },
  'warm-up-digest': {
    parts: ['digest'],
    type: 'string',
    owner: 'WarmupStore',
    holds: 'id of the unfinished warm-up of this request',
    bound: 'one per unfinished warm-up',
    ttl: 'deadline + 60 s; deleted at the end',
  },
  'warm-ups-unfinished': {
    parts: [],
    type: 'set',
    owner: 'WarmupStore',
    holds: 'ids of the unfinished warm-ups',
    bound: 'one member per unfinished warm-up',
    ttl: 'none; an id leaves at the end, or when its warm-up is found expired',
  },
  lane: {
    parts: ['id'],
    type: 'string',
    owner: 'LaneStore',
    holds: 'LaneDoc as JSON, with the warm record',
    bound: 'one per lane, about 2 kB',
    ttl: 'none while it lives; 24 h once EVICTED, FAILED or STALE',
  },
  lanes: {
    parts: [],
    type: 'set',
    owner: 'LaneStore',
    holds: 'ids of all lanes',
    bound: 'one member per lane',
    ttl: 'none; ids of expired lanes leave when they are found',
  },
  'worker-lanes': {
    parts: ['worker'],
    type: 'set',
    owner: 'LaneStore',
    holds: 'ids of one worker’s lanes',
    bound: 'one member per lane of the worker',
    ttl: 'none; ids of expired lanes leave when they are found',
  },
  'worker-holdings': {
    parts: ['worker'],
    type: 'hash',
    owner: 'LaneStore',
    holds: 'lane id -> the holders key it stands in',
    bound: 'one field per READY lane of the worker',
    ttl: 'none; a field leaves with its lane, the rest when the worker is gone',
  },
  'verify-requests': {
    parts: ['worker'],
    type: 'set',
    owner: 'LaneStore',
    holds: 'ids of lanes to verify again, taken by the worker',
    bound: 'one member per lane of the worker',
    ttl: '1 h',
  },
  holders: {
    parts: ['model', 'version', 'class'],
    type: 'set',
    owner: 'LaneStore, Holders',
    holds: '`worker:epoch:lane` of every READY lane of the shape class',
    bound: 'one member per READY lane of the class',
    ttl: 'none; members of gone workers and old epochs leave when they are found',
  },
  workers: {
    parts: [],
    type: 'set',
    owner: 'WorkerStore, Liveness',
    holds: 'ids of the workers',
    bound: 'one member per worker of the last 24 h',
    ttl: 'none; ids of expired workers leave when they are found',
  },
  worker: {
    parts: ['id'],
    type: 'string',
    owner: 'WorkerStore',
    holds: 'WorkerDoc as JSON',
    bound: 'one per worker',
    ttl: '24 h after the last write',
  },
  slot: {
    parts: ['worker'],
    type: 'string',
    owner: 'WorkerStore',
    holds: 'token of the process that is this worker',
    bound: 'one per live worker',
    ttl: '1 s, renewed by each heartbeat',
  },
  epoch: {
    parts: ['worker'],
    type: 'string',
    owner: 'WorkerStore, LaneStore',
    holds: 'the worker’s current runtime epoch: the fence of every write about it',
    bound: 'one per worker id of the last 7 days',
    ttl: '7 days after the last heartbeat',
  },
  alive: {
    parts: ['worker'],
    type: 'string',
    owner: 'WorkerStore, Liveness',
    holds: 'epoch of a worker that is live',
    bound: 'one per live worker',
    ttl: '1 s, renewed by each heartbeat',
  },
  present: {
    parts: ['worker'],
    type: 'string',
    owner: 'WorkerStore, Liveness',
    holds: 'epoch of a worker that is not yet given up',
    bound: 'one per worker',
    ttl: '15 s, renewed by each heartbeat',
  },
  step: {
    parts: ['worker'],
    type: 'string',
    owner: 'WorkerStore',
    holds: 'StepDoc as JSON: what the runtime was about to do',
    bound: 'one per worker',
    ttl: '24 h; deleted when the step ends',
  },
  quarantine: {
    parts: ['environment'],
    type: 'hash',
    owner: 'WorkerStore',
    holds: '`<model digest> <shape key>` -> why no lane is made of it here',
    bound: 'one field per shape that killed a runtime twice',
    ttl: '30 days after the last entry',
  },
  blob: {
    parts: ['id', 'piece'],
    optional: 1,
    type: 'string',
    owner: 'BlobStore, and producers in any language',
    holds: 'a tensor’s bytes; above 1 MiB in pieces of 1 MiB',
    bound: 'bytes reserved against the limit of the blob store',
    ttl: 'inputs: deadline + 60 s; answers: 60 s; deleted after use',
  },
  'blob-reservations': {
    parts: [],
    type: 'sorted set',
    owner: 'BlobStore',
    holds: '`id:bytes` by the time the blob expires',
    bound: 'one member per blob',
    ttl: 'none; up to 100 expired members leave with each reservation',
  },
  'blob-bytes': {
    parts: [],
    type: 'string',
    owner: 'BlobStore',
    holds: 'sum of the reservations',
    bound: 'one',
    ttl: 'none; deleted when nothing is reserved',
  },
  reply: {
    parts: ['request'],
    type: 'string',
    owner: 'ReplyStore',
    holds: 'one answer: JSON head, then the inline outputs',
    bound: 'one per request of the last 60 s, inline outputs up to 64 kB',
    ttl: '60 s',
  },
  replies: {
    parts: ['producer'],
    type: 'stream',
    owner: 'ReplyStore, ReplyReader',
    holds: 'names of the requests that were answered',
    bound: 'one per producer, cut to about 10,000 entries',
    ttl: '60 s after the last answer',
  },
  idempotency: {
    parts: ['scope'],
    type: 'string',
    owner: 'IdempotencyStore',
    holds: 'SHA-256 of the body and the request id that answers it',
    bound: 'one per idempotency key in use',
    ttl: 'deadline + 60 s; 60 s from the answer',
  },
  result: {
    parts: ['request'],
    type: 'string',
    owner: 'InferenceStore',
    holds: 'owner and deadline of an asynchronous inference, as JSON',
    bound: 'one per asynchronous inference',
    ttl: 'deadline + 60 s; 60 s from the answer',
  },
} as const satisfies Record<string, KeyFacts>;

export type KeyKind = keyof typeof table;

export const KEY_TABLE: Readonly<Record<KeyKind, KeyFacts>> = table;
