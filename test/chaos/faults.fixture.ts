import { setTimeout as pause } from 'node:timers/promises';
import { vi } from 'vitest';
import type { SeededRandom } from '../support/seeded-random.js';
import type { Role, WarmlaneSystem } from './warmlane-system.fixture.js';

/** What is done to a process: SIGKILL, SIGSTOP and SIGCONT some time later, SIGTERM. */
export type Act = 'kill' | 'freeze' | 'term';

/** A process that died is started again within this, also on a busy machine. */
const BACK_MS = 60_000;

export interface StormPlan {
  targets: readonly Role[];
  acts: readonly Act[];
  faults: number;
  /** Pause before each fault, ms. */
  pauseMs: readonly [number, number];
  /** How long a frozen process stays so, ms. */
  frozenMs: readonly [number, number];
}

/** Random faults, one after the other. Returns what was done, in order. */
export async function storm(system: WarmlaneSystem, plan: StormPlan, random: SeededRandom): Promise<string[]> {
  const done: string[] = [];
  for (let n = 0; n < plan.faults; n += 1) {
    await pause(random.between(...plan.pauseMs));
    // In turn, so that each is hit, whatever the seed.
    const target = plan.targets[n % plan.targets.length] ?? random.pick(plan.targets);
    const act = random.pick(plan.acts);
    const frozenMs = random.between(...plan.frozenMs);
    // By the fault before it may be gone for a moment.
    const victims = await vi.waitUntil(
      async () => {
        const found = await system.find(target);
        return found.length === 0 ? null : found;
      },
      { timeout: BACK_MS, interval: 20 },
    );
    const { pid } = random.pick(victims);
    if (await hit(pid, act, frozenMs)) done.push(`${act} ${target}`);
  }
  return done;
}

async function hit(pid: number, act: Act, frozenMs: number): Promise<boolean> {
  if (act === 'kill') return signal(pid, 'SIGKILL');
  if (act === 'term') return signal(pid, 'SIGTERM');
  if (!signal(pid, 'SIGSTOP')) return false;
  await pause(frozenMs);
  signal(pid, 'SIGCONT');
  return true;
}

/** False where the process is gone. */
export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch {
    return false;
  }
}
