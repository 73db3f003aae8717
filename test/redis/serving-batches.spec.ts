import { keys } from '@warmlane/redis';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { death, type ScriptedRun } from '../support/scripted-lanes.js';
import { failure, RigProducer, ROWS, ServingRig, success } from '../support/serving-rig.js';
import { useRedis } from './redis-client.fixture.js';

const PATIENCE = { timeout: 20_000 };

/** Each byte and 100: what comes out of a batch can be told item by item. */
const plus = async ({ inputs }: ScriptedRun): Promise<Uint8Array> =>
  Uint8Array.from(inputs[0]?.data ?? [], (value) => value + 100);

const rows = (...values: number[]): Uint8Array => Uint8Array.from(values.flatMap((value) => [value, value]));
const plain = (answer: { inline: (Buffer | null)[] }): number[] => Array.from(answer.inline[0] ?? []);

describe('serving in batches', () => {
  const fixture = useRedis();
  let producer: RigProducer;
  let rig: ServingRig | null = null;

  /** The first run waits until the test lets it go: meanwhile the others gather. */
  const startHeld = async (script = plus) => {
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const started = await ServingRig.start('w-0', fixture.server.url, async (run) => {
      if (run.inputs[0]?.data[0] === 0) await held;
      return script(run);
    });
    rig = started;
    return { rig: started, release };
  };

  beforeEach(async () => {
    producer = await RigProducer.start(fixture.server.url);
  });

  afterEach(async () => {
    await rig?.close();
    rig = null;
    await producer.close();
  });

  const gathered = (of: ServingRig, jobs: number) =>
    vi.waitFor(() => expect(of.serving.load.active).toBe(jobs), PATIENCE);
  const together = (of: ServingRig) => of.lanes.runs.map((run) => run.together);

  it('gathers while the device is busy, and gives each request its own part', async () => {
    const { rig: of, release } = await startHeld();
    await of.readyRows(1, 10);
    await of.readyRows(4, 15);
    const first = producer.sendRows(rows(0));
    await vi.waitFor(() => expect(of.lanes.runs).toHaveLength(1), PATIENCE);
    const others = [1, 2, 3, 4].map((value) => producer.sendRows(rows(value)));
    await gathered(of, 5);
    release();
    expect(plain(await first)).toEqual([100, 100]);
    const answers = await Promise.all(others);
    expect(answers.map(plain)).toEqual([101, 102, 103, 104].map((value) => [value, value]));
    for (const answer of answers) {
      expect(success(answer)).toMatchObject({ lane: 'ready' });
      expect(success(answer).timing.gatherMs).toBeGreaterThan(0);
    }
    expect(together(of)).toEqual([1, 4, 4, 4, 4]);
    await of.stats.flush();
    const stats = await of.stats.get(ROWS.name, ROWS.version);
    expect(stats.batches.map(({ batchSize, computeInfer }) => [batchSize, computeInfer.count])).toEqual([
      [1, 1],
      [4, 1],
    ]);
    expect(stats.executionCount).toBe(2);
  });

  it('cuts what is larger than any lane, and puts it together again', async () => {
    const { rig: of } = await startHeld();
    await of.readyRows(4, 15);
    const values = Array.from({ length: 11 }, (_, n) => n + 1);
    const answer = await producer.sendRows(rows(...values));
    expect(success(answer)).toMatchObject({ lane: 'ready', shapeKey: 'x:uint8[11,2]' });
    expect(plain(answer)).toEqual(values.flatMap((value) => [value + 100, value + 100]));
    expect(of.lanes.runs.map((run) => run.inputs[0]?.dims[0])).toEqual([4, 4, 3]);
  });

  it('lets one bad item fail alone', async () => {
    const { rig: of, release } = await startHeld(async (run) => {
      if (run.inputs[0]?.data.includes(66)) throw new Error('no such index');
      return plus(run);
    });
    await of.readyRows(4, 15);
    const first = producer.sendRows(rows(0));
    await vi.waitFor(() => expect(of.lanes.runs).toHaveLength(1), PATIENCE);
    const others = [1, 66, 3].map((value) => producer.sendRows(rows(value)));
    await gathered(of, 4);
    release();
    const [one, bad, three] = await Promise.all(others);
    await first;
    expect(bad && failure(bad)).toBe('internal');
    expect([one, three].map((answer) => answer && plain(answer))).toEqual([
      [101, 101],
      [103, 103],
    ]);
    expect(together(of)).toEqual([1, 3, 3, 3, 1, 1, 1]);
  });

  it('tries each of a batch alone that a runtime died under', async () => {
    let died = false;
    const { rig: of, release } = await startHeld(async (run) => {
      if (run.on === 'lane' && run.together > 1) {
        if (!died) {
          died = true;
          await of.runtimeDies();
        }
        throw death(false);
      }
      return plus(run);
    });
    await of.readyRows(4, 15);
    const first = producer.sendRows(rows(0));
    await vi.waitFor(() => expect(of.lanes.runs).toHaveLength(1), PATIENCE);
    const others = [1, 2, 3].map((value) => producer.sendRows(rows(value)));
    await gathered(of, 4);
    release();
    await first;
    expect((await Promise.all(others)).map((answer) => plain(answer)[0])).toEqual([101, 102, 103]);
    expect(of.lanes.runs.filter((run) => run.on === 'trial')).toHaveLength(3);
    expect(await producer.redis.keys(keys.deaths('*'))).toEqual([]);
  });

  it('does not run what is past its deadline in a batch with others', async () => {
    const { rig: of, release } = await startHeld();
    await of.readyRows(4, 15);
    const first = producer.sendRows(rows(0));
    await vi.waitFor(() => expect(of.lanes.runs).toHaveLength(1), PATIENCE);
    const others = [1, 2].map((value) => producer.sendRows(rows(value)));
    const late = producer.sendRows(rows(66), { deadlineMs: 100 });
    expect(failure(await late)).toBe('deadline-exceeded');
    release();
    await Promise.all([first, ...others]);
    expect(of.lanes.runs.some((run) => run.inputs[0]?.data.includes(66))).toBe(false);
  });

  it('serves a request from the cold queue by the lanes of its class', async () => {
    const { rig: of } = await startHeld();
    await of.readyRows(4, 15);
    const answer = await producer.sendRows(rows(7, 8), { cold: true, shapeClass: undefined });
    expect(success(answer).lane).toBe('ready');
    expect(plain(answer)).toEqual([107, 107, 108, 108]);
  });

  it('counts as many inferences of a request that runs whole as of one that is served cold', async () => {
    const { rig: of, release } = await startHeld();
    release();
    const key = 'x:uint8[3,2]';
    const cold = await producer.sendRows(rows(1, 2, 3), { cold: true, shapeClass: key });
    const lane = await of.readyRows(3, 10, false);
    const whole = await producer.sendRows(rows(1, 2, 3), { shapeClass: lane.class });
    expect([success(cold), success(whole)]).toMatchObject([
      { lane: 'cold', items: 3 },
      { lane: 'ready', items: 3 },
    ]);
    await of.stats.flush();
    const { batches } = await of.stats.get(ROWS.name, ROWS.version);
    expect(batches.map(({ batchSize, computeInfer }) => [batchSize, computeInfer.count])).toEqual([[3, 2]]);
  });

  it('has credit for the next batch while one runs', async () => {
    const { rig: of } = await startHeld();
    const before = of.serving.load.limit;
    const lane = await of.readyRows(4, 15);
    // Twice the batch, and one more class.
    expect(of.serving.load.limit).toBe(before + 4 * 3 + 1);
    await of.lanes.leave(lane.id);
    expect(of.serving.load.limit).toBe(before);
  });
});
