import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { isAlive, place } from './life.js';
import { ALIVE_FILE, rootIn } from './slot-layout.js';

const lifeSchema = z.object({ pid: z.number(), start: z.string() });
const aliveSchema = lifeSchema.extend({ boot: z.string(), namespace: z.string(), keeper: lifeSchema.nullable() });

/** Each process touches its folder this often. */
export const TOUCH_MS = 10_000;
/** What a dead process wrote stays for its readers while the process that keeps it lives. */
const KEPT_MS = 30_000;
/** A folder of another pid namespace (a container that shares the tmpfs) is judged by its last touch alone. */
const FOREIGN_MS = 300_000;
/** A folder that never got its name. */
const DRAFT_MS = 60_000;

/** Deletes the folders of dead processes of this user. @returns how many */
export function sweep(dir: string, nowMs: number = Date.now()): number {
  const root = rootIn(dir);
  let swept = 0;
  for (const name of listOf(root)) {
    const folder = join(root, name);
    if (!isLeftBehind(folder, name, nowMs)) continue;
    rmSync(folder, { recursive: true, force: true });
    swept += 1;
  }
  return swept;
}

function listOf(root: string): string[] {
  try {
    return readdirSync(root);
  } catch {
    return [];
  }
}

function isLeftBehind(folder: string, name: string, nowMs: number): boolean {
  try {
    if (name.startsWith('.')) return nowMs - statSync(folder).mtimeMs > DRAFT_MS;
    const file = join(folder, ALIVE_FILE);
    const life = aliveSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
    const { boot, namespace } = place();
    if (life.boot !== boot) return true;
    const idleMs = nowMs - statSync(file).mtimeMs;
    if (life.namespace !== namespace) return idleMs > FOREIGN_MS;
    if (isAlive(life)) return false;
    return life.keeper === null || !isAlive(life.keeper) || idleMs > KEPT_MS;
  } catch {
    // Somebody else sweeps it just now, or it is none of ours.
    return false;
  }
}
