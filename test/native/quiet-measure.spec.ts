import { convReluModel } from '@warmlane/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Lane } from '../../apps/worker/src/lanes/lane.js';
import { QuietMeasure } from '../../apps/worker/src/lanes/quiet-measure.js';
import { WarmerRig, xOf } from '../support/warmer-rig.js';

let rig: WarmerRig;
beforeAll(async () => {
  rig = await WarmerRig.start({ provider: 'cpu' });
});
afterAll(() => rig[Symbol.asyncDispose]());

interface Seen {
  restored: string[];
  measured: [string, number][];
  revisited: string[];
}

/** @param watcher what else runs in the runtime; `runs` is read before and after the measurement */
function quietMeasure(
  watcher: { quietMs: number; readonly runs: number },
  current = true,
): { measure: QuietMeasure; seen: Seen } {
  const seen: Seen = { restored: [], measured: [], revisited: [] };
  const measure = new QuietMeasure(
    rig.host,
    {
      restore: (lane) => {
        seen.restored.push(lane.id);
        return Promise.resolve(current);
      },
    },
    rig.registry,
    {
      quietMs: watcher.quietMs,
      get runs() {
        return watcher.runs;
      },
      revisitNeighbour: (lane) => {
        seen.revisited.push(lane.id);
        return Promise.resolve();
      },
    },
    rig.verifier,
    { laneMeasured: (id, p50Ms) => seen.measured.push([id, p50Ms]) },
    { info: () => undefined },
  );
  return { measure, seen };
}

const INFLATED_MS = 500;
/** As a lane is that was measured while the device did other things. */
function disturb(lane: Lane): void {
  const { record } = lane;
  if (record === null) throw new Error('the lane has no record');
  lane.record = { ...record, steadyP50Ms: INFLATED_MS, steadyP99Ms: INFLATED_MS, revisitP50Ms: 0 };
  lane.startWatch(lane.record);
  lane.disturbed = true;
}
/** Whether the watch finds the lane slow when it serves at this pace. */
function suspects(lane: Lane, computeMs: number): boolean {
  const windows = [0, 20_000].flatMap((nowMs) =>
    Array.from({ length: 50 }, () => lane.watch?.push(computeMs, nowMs) ?? null),
  );
  return windows.some((found) => found !== null);
}

describe('a lane whose first measurement was disturbed', () => {
  it('is measured again when it is quiet: record, watch and scheduler go by the new figure', async () => {
    const lane = await rig.ready(rig.lane(await rig.hold('conv', convReluModel()), xOf(1, 3, 8, 8)));
    disturb(lane);
    expect(suspects(lane, 300)).toBe(false);

    const busy = quietMeasure({ quietMs: 10, runs: 0 });
    await busy.measure.measureDue();
    expect([lane.disturbed, busy.seen.restored]).toEqual([true, []]);

    let reads = 0;
    const interrupted = quietMeasure({
      quietMs: 5_000,
      get runs() {
        reads += 1;
        return reads;
      },
    });
    await interrupted.measure.measureDue();
    expect([lane.disturbed, lane.record?.steadyP50Ms]).toEqual([true, INFLATED_MS]);

    const quiet = quietMeasure({ quietMs: 5_000, runs: 7 });
    await quiet.measure.measureDue();
    const { steadyP50Ms = 0, steadyP99Ms = 0 } = lane.record ?? {};
    expect(steadyP50Ms).toBeGreaterThan(0);
    expect(steadyP50Ms).toBeLessThan(100);
    expect(steadyP99Ms).toBeGreaterThanOrEqual(steadyP50Ms);
    expect(lane.disturbed).toBe(false);
    expect(quiet.seen).toEqual({ restored: [lane.id], measured: [[lane.id, steadyP50Ms]], revisited: [] });
    expect(lane.toReady().p50Ms).toBe(steadyP50Ms);
    expect(suspects(lane, 300)).toBe(true);
    await quiet.measure.measureDue();
    expect(quiet.seen.restored).toHaveLength(1);
  });

  it('is revisited where its revisit was good beside the disturbed figure alone', async () => {
    const [lane] = rig.registry.serving;
    if (lane === undefined) throw new Error('no lane');
    disturb(lane);
    lane.record = lane.record === null ? null : { ...lane.record, revisitP50Ms: INFLATED_MS };
    const quiet = quietMeasure({ quietMs: 5_000, runs: 0 });
    await quiet.measure.measureDue();
    expect(quiet.seen.revisited).toEqual([lane.id]);
  });

  it('of an epoch that is over tells nobody', async () => {
    const [lane] = rig.registry.serving;
    if (lane === undefined) throw new Error('no lane');
    disturb(lane);
    const quiet = quietMeasure({ quietMs: 5_000, runs: 0 }, false);
    await quiet.measure.measureDue();
    expect(quiet.seen).toMatchObject({ restored: [lane.id], measured: [], revisited: [] });
  });
});
