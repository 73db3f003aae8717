import type { LaneRun, NamedTensor } from '@warmlane/contracts';
import type { Between } from './warmer-rig.js';

/** What a lane's run may do to its answer. `runs` counts from 1 over the life of the lie; `shapes` are other shapes so far. */
export type Lie = (run: LaneRun, at: { runs: number; otherShapes: number; poison: boolean }) => LaneRun;

/** Puts a lie over every run of a lane. */
export function telling(lie: Lie): Between {
  let runs = 0;
  let otherShapes = 0;
  return async (method, params, real) => {
    const result = await real(params);
    if (method === 'plain.run') otherShapes += 1;
    if (method !== 'lane.run') return result;
    runs += 1;
    const { poison } = params as { poison: boolean };
    return lie(result as LaneRun, { runs, otherShapes, poison }) as typeof result;
  };
}

/** The run with its first output's float32 values changed. */
export function changed(run: LaneRun, change: (values: Float32Array) => void): LaneRun {
  const [first, ...rest] = run.outputs;
  if (first === undefined) return run;
  return { ...run, outputs: [withValues(first, change), ...rest] };
}

function withValues(tensor: NamedTensor, change: (values: Float32Array) => void): NamedTensor {
  const data = Uint8Array.from(tensor.data);
  change(new Float32Array(data.buffer));
  return { ...tensor, data };
}
