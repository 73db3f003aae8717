import { EVENTS_KEPT } from '@warmlane/queues';
import { type KeyKind, keys, parseKey, parseQueueKey, parseQueueName, printQueueName } from '@warmlane/redis';
import type { Redis } from 'ioredis';

/** Kinds that pass: each key must have a time to live, ms at most. */
const PASSING: Partial<Record<KeyKind, number>> = {
  blob: 130_000,
  reply: 60_000,
  replies: 60_000,
  result: 130_000,
  idempotency: 130_000,
  deaths: 2 * 3_600_000,
  'warm-up': 48 * 3_600_000,
  'warm-up-digest': 700_000,
  'verify-requests': 3_600_000,
  alive: 1_000,
  slot: 1_000,
  present: 15_000,
  steps: 24 * 3_600_000,
  worker: 24 * 3_600_000,
  epoch: 7 * 24 * 3_600_000,
  stats: 30 * 24 * 3_600_000,
  quarantine: 30 * 24 * 3_600_000,
};

/** Where BullMQ keeps the jobs of a queue that are not at their end. */
const OPEN = ['wait', 'active', 'paused', 'prioritized', 'delayed', 'waiting-children', 'stalled'];
const ENDED = ['completed', 'failed'];
/** What a queue has besides its jobs. */
const FURNITURE = new Set(['id', 'meta', 'events', 'stalled-check', 'marker', 'pc', 'limiter', 'metrics']);
/** BullMQ cuts the streams of events by whole nodes; those of the entry queues are cut to 1,000 every 30 s. */
const EVENTS_MOST = 300;
const ENTRY_EVENTS_MOST = 1_200;

export interface Census {
  /** Keys by kind; those of queues by the queue's kind. */
  counts: Record<string, number>;
  /** What should not be there once nothing is in flight, one line each. */
  problems: string[];
}

/** Counts everything in Redis and names what does not fit docs/redis-keys.md, or is still open, when nothing is in flight. */
export async function takeCensus(redis: Redis): Promise<Census> {
  const counts: Record<string, number> = {};
  const problems: string[] = [];
  const queues = new Map<string, string[]>();
  const count = (kind: string): void => {
    counts[kind] = (counts[kind] ?? 0) + 1;
  };
  for (const key of await allKeys(redis)) {
    const own = parseKey(key);
    const queued = own === null ? parseQueueKey(key) : null;
    if (own !== null) {
      count(own.kind);
      const most = PASSING[own.kind];
      const ttlMs = most === undefined ? 0 : await redis.pttl(key);
      // -2: it expired since it was listed.
      if (most !== undefined && (ttlMs === -1 || ttlMs > most)) problems.push(`${key} lives for ${ttlMs} ms`);
    } else if (queued !== null) {
      count(`queue ${queued.queue.kind}`);
      const name = printQueueName(queued.queue);
      queues.set(name, [...(queues.get(name) ?? []), queued.rest]);
    } else problems.push(`${key} belongs to nobody`);
  }
  for (const [queue, rests] of queues) problems.push(...(await queueProblems(redis, queue, rests)));
  problems.push(...(await blobProblems(redis)), ...(await laneProblems(redis)));
  return { counts, problems };
}

async function allKeys(redis: Redis): Promise<string[]> {
  const found = new Set<string>();
  let cursor = '0';
  do {
    const [next, some] = await redis.scan(cursor, 'COUNT', '1000');
    for (const key of some) found.add(key);
    cursor = next;
  } while (cursor !== '0');
  return [...found];
}

async function members(redis: Redis, key: string): Promise<string[]> {
  switch (await redis.type(key)) {
    case 'list':
      return redis.lrange(key, '0', '-1');
    case 'zset':
      return redis.zrange(key, '0', '-1');
    case 'set':
      return redis.smembers(key);
    default:
      return [];
  }
}

async function queueProblems(redis: Redis, queue: string, rests: readonly string[]): Promise<string[]> {
  const problems: string[] = [];
  const known = new Set<string>();
  for (const list of [...OPEN, ...ENDED]) {
    const jobs = await members(redis, `{wl}:${queue}:${list}`);
    for (const job of jobs) known.add(job);
    if (OPEN.includes(list) && jobs.length > 0) problems.push(`${queue} has ${jobs.length} jobs ${list}: ${jobs[0]}`);
  }
  for (const rest of rests) {
    const [job = '', ...behind] = rest.split(':');
    if (FURNITURE.has(job) || OPEN.includes(job) || ENDED.includes(job) || known.has(job)) continue;
    const ttlMs = await redis.pttl(`{wl}:${queue}:${rest}`);
    if (ttlMs === -1) problems.push(`${queue} left ${behind.length > 0 ? behind.join(':') : 'the job'} of ${job}`);
  }
  const events = await redis.xlen(`{wl}:${queue}:events`);
  const most = queue === 'inference' || queue === 'warmup' ? ENTRY_EVENTS_MOST : EVENTS_MOST;
  if (events > most) problems.push(`${queue} keeps ${events} events`);
  return [...problems, ...(await settingProblems(redis, queue))];
}

/** Ours keep 100 events; a bare client sets what it likes on the entry queues. The queues of workers can be found. */
async function settingProblems(redis: Redis, queue: string): Promise<string[]> {
  const problems: string[] = [];
  const kept = await redis.hget(`{wl}:${queue}:meta`, 'opts.maxLenEvents');
  const own = queue !== 'inference' && queue !== 'warmup';
  if (own && kept !== null && kept !== String(EVENTS_KEPT)) problems.push(`${queue} is to keep ${kept} events`);
  const name = parseQueueName(queue);
  if (name?.kind === 'warm-lane' && (await redis.zscore(keys.warmLaneQueues(), name.worker)) === null) {
    problems.push(`${queue} is in no index: nobody will ever forget it`);
  }
  return problems;
}

/** The sum of the reservations is exact, and none is left longer than its blob may live. */
async function blobProblems(redis: Redis): Promise<string[]> {
  const [members, total] = await Promise.all([
    redis.zrange(keys.blobReservations(), '0', '-1', 'WITHSCORES'),
    redis.get(keys.blobBytes()),
  ]);
  let sum = 0;
  const problems: string[] = [];
  for (let at = 0; at < members.length; at += 2) {
    sum += Number(members[at]?.split(':')[1]);
    const leftMs = Number(members[at + 1]) - Date.now();
    if (leftMs > (PASSING.blob ?? 0)) problems.push(`reservation ${members[at]} is kept for ${leftMs} ms`);
  }
  if (sum !== Number(total ?? 0)) problems.push(`${total} bytes are counted, ${sum} reserved`);
  return problems;
}

/** Every indexed lane has its document; one that ended has a time to live. */
async function laneProblems(redis: Redis): Promise<string[]> {
  const problems: string[] = [];
  for (const id of await redis.smembers(keys.lanes())) {
    const text = await redis.get(keys.lane(id));
    if (text === null) continue;
    const { state } = JSON.parse(text) as { state: string };
    const ended = ['EVICTED', 'FAILED', 'STALE'].includes(state);
    const ttlMs = await redis.pttl(keys.lane(id));
    if (ended === (ttlMs === -1)) problems.push(`lane ${id} is ${state} and lives for ${ttlMs} ms`);
  }
  return problems;
}
