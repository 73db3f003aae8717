import type { ProviderName } from '@warmlane/contracts';
import { check, type OrtApi, pointerInArray, textAt } from '../native/api.js';
import { filled, Handle, type Out, type Pointer } from '../native/handle.js';
import { createMemoryInfo } from '../native/value.js';

/** What a session's arena holds, in bytes, and how it came to it. */
export interface AllocatorStats {
  inUse: number;
  /** Taken from the device and held, weights included. */
  totalAllocated: number;
  maxInUse: number;
  allocations: number;
  arenaExtensions: number;
}

/** The statistics of a session's own allocator, or null where it keeps none (the arena is switched off). */
export function readAllocatorStats(
  api: OrtApi,
  session: Pointer<'Session'>,
  provider: ProviderName,
  device: number,
): AllocatorStats | null {
  const info = createMemoryInfo(api, provider === 'cpu' ? { provider } : { provider, device });
  try {
    const out: Out<Pointer<'Allocator'>> = [null];
    check(api, api.createAllocator(session, info.pointer, out));
    const allocator = new Handle('Allocator', filled(out, 'CreateAllocator'), api.releaseAllocator);
    try {
      return toStats(readPairs(api, allocator.pointer));
    } finally {
      allocator.close();
    }
  } finally {
    info.close();
  }
}

function readPairs(api: OrtApi, allocator: Pointer<'Allocator'>): Map<string, number> {
  const out: Out<Pointer<'KeyValuePairs'>> = [null];
  check(api, api.allocatorGetStats(allocator, out));
  const pairs = filled(out, 'AllocatorGetStats');
  try {
    const keys: Out<bigint> = [null];
    const values: Out<bigint> = [null];
    const count: Out<number> = [null];
    api.getKeyValuePairs(pairs, keys, values, count);
    const stats = new Map<string, number>();
    for (let i = 0; i < (count[0] ?? 0); i += 1) {
      const key = textAt(pointerInArray(filled(keys, 'GetKeyValuePairs'), i));
      stats.set(key, Number(textAt(pointerInArray(filled(values, 'GetKeyValuePairs'), i))));
    }
    return stats;
  } finally {
    api.releaseKeyValuePairs(pairs);
  }
}

function toStats(pairs: Map<string, number>): AllocatorStats | null {
  const totalAllocated = pairs.get('TotalAllocated');
  if (totalAllocated === undefined) return null;
  return {
    totalAllocated,
    inUse: pairs.get('InUse') ?? 0,
    maxInUse: pairs.get('MaxInUse') ?? 0,
    allocations: pairs.get('NumAllocs') ?? 0,
    arenaExtensions: pairs.get('NumArenaExtensions') ?? 0,
  };
}
