import { modelConfigSchema, printShapeKey } from '@warmlane/contracts';
import { ModelStore } from '@warmlane/redis';
import type { Redis } from 'ioredis';

/** A model that exists in Redis alone: its runs cost what the bench says. */
export const MODEL = 'calibrated';
export const VERSION = '1';

export interface CalibratedSettings {
  laneMs: number;
  fallbackMs: number;
  /** Shapes of 1, 2, ... bytes, each with a lane. */
  classes: number;
  /** With it each shape has lanes of these sizes, and `itemMs` is what each further item costs. */
  batches?: { sizes: number[]; itemMs: number };
}

/** What its worker says when it is asked. */
export interface CalibratedLoad {
  maxActive: number;
  /** Items that the lanes ran, and for how long they did, ms. */
  items: number;
  busyMs: number;
}

/** The shape of so many bytes; with batches of one item. */
export function dimsOf(bytes: number, items?: number): number[] {
  return items === undefined ? [bytes] : [items, bytes];
}

export function shapeOf(bytes: number, items?: number): string {
  return printShapeKey([{ name: 'x', dtype: 'uint8', dims: dimsOf(bytes, items) }]);
}

export async function registerCalibrated(redis: Redis, { batches }: CalibratedSettings): Promise<void> {
  const dims = batches === undefined ? ['n'] : ['b', 'n'];
  await new ModelStore(redis).register({
    name: MODEL,
    version: VERSION,
    state: 'LOADED',
    reason: '',
    digest: '0'.repeat(64),
    metadata: { inputs: [{ name: 'x', dtype: 'uint8', dims }], outputs: [{ name: 'y', dtype: 'uint8', dims }] },
    config: modelConfigSchema.parse(batches === undefined ? {} : { batch: { sizes: batches.sizes } }),
  });
}
