import { WarmlaneError } from '@warmlane/contracts';
import type { Redis } from 'ioredis';
import type { z } from 'zod';
import { runScript } from './scripts.js';

/** Documents asked for in one MGET: a few hundred kB, so that other commands are not kept waiting. */
const READ_AT_ONCE = 200;

/** A stored JSON document, checked. Throws `internal` naming the key where it is of another form. */
export function parseDocument<T>(schema: z.ZodType<T>, key: string, text: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw malformed(key, 'it is not JSON', cause);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw malformed(key, parsed.error.issues[0]?.message ?? 'another form', parsed.error);
  return parsed.data;
}

function malformed(key: string, why: string, cause: unknown): WarmlaneError {
  return new WarmlaneError(
    'internal',
    `the document at ${key} is not of this version's form: ${why}`,
    'Run one version of Warmlane per Redis, or delete the key; its writer writes it again.',
    { cause },
  );
}

/**
 * Reads all documents that an index set names, in the order of the members' text. A member whose document has expired
 * leaves the index, unless the key that `proofOf` names still exists.
 */
export async function readIndexed<T>(
  redis: Redis,
  index: string,
  keyOf: (member: string) => string,
  parse: (key: string, text: string) => T,
  proofOf: (member: string) => string = keyOf,
): Promise<T[]> {
  const members = (await redis.smembers(index)).sort();
  const documents: T[] = [];
  const gone: string[] = [];
  for (let at = 0; at < members.length; at += READ_AT_ONCE) {
    const some = members.slice(at, at + READ_AT_ONCE);
    const texts = await redis.mget(some.map(keyOf));
    some.forEach((member, n) => {
      const text = texts[n] ?? null;
      if (text === null) gone.push(member);
      else documents.push(parse(keyOf(member), text));
    });
  }
  if (gone.length > 0) await runScript(redis, 'pruneMembers', [index, ...gone.map(proofOf)], gone);
  return documents;
}
