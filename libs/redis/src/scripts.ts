import { readdirSync, readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';

const FOLDER = new URL('../lua/', import.meta.url);
const FILE = /^([a-z][A-Za-z]*)-([0-9]+|n)\.lua$/;

interface LuaFile {
  lua: string;
  /** null: given with each call. */
  keyCount: number | null;
}

function loadAll(): Map<string, LuaFile> {
  const files = new Map<string, LuaFile>();
  for (const file of readdirSync(FOLDER)) {
    const match = FILE.exec(file);
    if (match === null) throw new Error(`lua/${file} is not named verbNoun-<number of keys>.lua; rename it`);
    const [, name = '', count = ''] = match;
    files.set(name, {
      lua: readFileSync(new URL(file, FOLDER), 'utf8'),
      keyCount: count === 'n' ? null : Number(count),
    });
  }
  return files;
}

let loaded: Map<string, LuaFile> | null = null;

/** The Lua files by name; read once per process. */
export function luaFiles(): ReadonlyMap<string, LuaFile> {
  loaded ??= loadAll();
  return loaded;
}

export type ScriptArg = string | number | Buffer;

/** What a script may return: Redis's integers, strings, arrays and nil. */
export type ScriptReply = number | string | null | ScriptReply[];

const defined = new WeakMap<Redis, Set<string>>();

/**
 * Runs `lua/<name>-<keys>.lua`. ioredis sends the text once per connection and its SHA-1 afterwards; commands of one
 * client run in the order of their calls. Throws what Redis answers, and a RangeError for a wrong number of keys.
 */
export async function runScript(
  redis: Redis,
  name: string,
  keys: readonly string[],
  args: readonly ScriptArg[],
): Promise<ScriptReply> {
  const file = luaFiles().get(name);
  if (file === undefined) throw new RangeError(`no Lua file is named ${name}; add it to libs/redis/lua`);
  if (file.keyCount !== null && file.keyCount !== keys.length) {
    throw new RangeError(`script ${name} takes ${file.keyCount} keys, got ${keys.length}`);
  }
  const command = `wl${name}`;
  let known = defined.get(redis);
  if (known === undefined) {
    known = new Set();
    defined.set(redis, known);
  }
  if (!known.has(name)) {
    redis.defineCommand(command, { lua: file.lua, numberOfKeys: file.keyCount ?? undefined });
    known.add(name);
  }
  const run: unknown = Reflect.get(redis, command);
  if (typeof run !== 'function') throw new Error(`ioredis did not define ${command}; use an ioredis 6 client`);
  const counted = file.keyCount === null ? [keys.length] : [];
  const reply: unknown = await Reflect.apply(run, redis, [...counted, ...keys, ...args]);
  return asReply(reply);
}

function asReply(value: unknown): ScriptReply {
  if (value === null || typeof value === 'number' || typeof value === 'string') return value;
  if (Array.isArray(value)) return value.map(asReply);
  throw new TypeError(`a Lua script answered ${typeof value}`);
}

/** The strings of a script's array reply; nil is an empty array. */
export function replyStrings(reply: ScriptReply): string[] {
  return Array.isArray(reply) ? reply.map(String) : [];
}
