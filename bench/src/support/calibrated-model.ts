import { printShapeKey } from '@warmlane/contracts';

/** A model that exists in Redis alone: its runs cost what the bench says. */
export const MODEL = 'calibrated';
export const VERSION = '1';

export interface CalibratedSettings {
  laneMs: number;
  fallbackMs: number;
  /** Shapes of 1, 2, ... bytes, each with a lane. */
  classes: number;
}

export function shapeOf(bytes: number): string {
  return printShapeKey([{ name: 'x', dtype: 'uint8', dims: [bytes] }]);
}
