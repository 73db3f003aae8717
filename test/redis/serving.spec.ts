import { newId } from '@warmlane/contracts';
import { classQueueName, coldQueueName, keys, Notices } from '@warmlane/redis';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { death, type ScriptedRun } from '../support/scripted-lanes.js';
import { DyingHolder, failure, MODEL, RigProducer, ServingRig, shapeOf, success } from '../support/serving-rig.js';
import { useRedis } from './redis-client.fixture.js';

/** Answers with the input reversed: every answer can be told from every other. */
const reverse = async ({ inputs }: ScriptedRun): Promise<Uint8Array> =>
  Uint8Array.from(inputs[0]?.data ?? []).reverse();

/** Something to wait for until the test lets it go. */
function gate(): { held: Promise<void>; release: () => void } {
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  return { held, release };
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

describe('serving', () => {
  const fixture = useRedis();
  const rigs: ServingRig[] = [];
  let producer: RigProducer;

  const start = async (id = 'w-0', script: (run: ScriptedRun) => Promise<Uint8Array> = reverse) => {
    const rig = await ServingRig.start(id, fixture.server.url, script);
    rigs.push(rig);
    return rig;
  };

  beforeEach(async () => {
    producer = await RigProducer.start(fixture.server.url);
  });

  afterEach(async () => {
    await Promise.all(rigs.splice(0).map((rig) => rig.close()));
    await producer.close();
  });

  it('serves a class by its lane, and tells the time of each part', async () => {
    const rig = await start();
    const lane = await rig.ready(4);
    const answer = await producer.send(bytes(1, 2, 3, 4));
    const head = success(answer);
    expect(head).toMatchObject({ lane: 'ready', worker: 'w-0', shapeKey: shapeOf(4) });
    expect(head.timing.computeMs).toBe(1);
    expect(head.timing.queueMs).toBeGreaterThanOrEqual(0);
    expect(answer.inline[0]).toEqual(Buffer.from([4, 3, 2, 1]));
    expect(rig.lanes.observed).toEqual([lane.id]);
  });

  it('serves the cold queue by the fallback, and by the lane where one is ready meanwhile', async () => {
    const rig = await start();
    expect(success(await producer.send(bytes(1, 2), { cold: true })).lane).toBe('cold');
    await rig.ready(2);
    expect(success(await producer.send(bytes(1, 2), { cold: true })).lane).toBe('ready');
  });

  it('moves what waits for the fallback to a lane that becomes ready', async () => {
    const { held, release } = gate();
    const rig = await start('w-0', async (run) => {
      if (run.on === 'fallback') await held;
      return reverse(run);
    });
    // The fallback is busy with another shape; a second cold queue brings the work that waits.
    const busy = producer.send(bytes(1), { cold: true });
    await vi.waitFor(() => expect(rig.lanes.runs).toHaveLength(1));
    await rig.ready(3);
    rig.lanes.die();
    const waiting = producer.send(bytes(1, 2, 3));
    await vi.waitFor(() => expect(rig.serving.load.active).toBe(2));
    await rig.ready(3);
    expect(success(await waiting).lane).toBe('ready');
    release();
    expect(success(await busy).lane).toBe('cold');
  });

  it('answers 1,000 requests each with its own answer, within the credit', async () => {
    const rig = await start();
    await rig.ready(4);
    const answers = await Promise.all(
      Array.from({ length: 1_000 }, async (_, n) => {
        const data = bytes(n & 255, n >> 8, 7, 9);
        const answer = await producer.send(data);
        return Buffer.from(data)
          .reverse()
          .equals(answer.inline[0] ?? Buffer.alloc(0));
      }),
    );
    expect(answers.every(Boolean)).toBe(true);
    expect(rig.lanes.runs).toHaveLength(1_000);
    expect(rig.serving.load.maxActive).toBeLessThanOrEqual(rig.serving.load.limit);
    expect(rig.serving.load.maxActive).toBeGreaterThan(2);
  });

  it('does not run work past its deadline', async () => {
    const rig = await start();
    await rig.ready(1);
    const now = producer.clock.now();
    expect(failure(await producer.send(bytes(1), { deadlineAt: now - 1, enqueuedAt: now - 10 }))).toBe(
      'deadline-exceeded',
    );
    expect(rig.lanes.runs).toEqual([]);
  });

  it.each([
    ['a lane', false],
    ['the fallback', true],
  ])('does not run on %s what waited in vain', async (_where, cold) => {
    const rig = await start('w-0', async (run) => {
      await new Promise((resolve) => setTimeout(resolve, 300));
      return reverse(run);
    });
    await rig.ready(1);
    // Shapes of three bytes have no lane.
    const data = cold ? bytes(1, 2, 3) : bytes(1);
    // Runs are seen to take 300 ms; the lane says 1.
    for (let n = 0; n < 4; n += 1) await producer.send(data, { cold });
    const ran = rig.lanes.runs.length;
    const now = producer.clock.now();
    const waited = { cold, enqueuedAt: now - 10_000 };
    expect(failure(await producer.send(data, { ...waited, deadlineAt: now + 200 }))).toBe('deadline-exceeded');
    expect(rig.lanes.runs).toHaveLength(ran);
    expect(success(await producer.send(data, { ...waited, deadlineAt: now + 9_000 })).outputs).toHaveLength(1);
  });

  it('fails waiting work at its deadline, not when its turn comes', async () => {
    const { held, release } = gate();
    const rig = await start('w-0', async (run) => {
      await held;
      return reverse(run);
    });
    const first = producer.send(bytes(1), { cold: true });
    await vi.waitFor(() => expect(rig.lanes.runs).toHaveLength(1));
    await rig.ready(3);
    rig.lanes.die();
    expect(failure(await producer.send(bytes(1, 2, 3), { deadlineMs: 150 }))).toBe('deadline-exceeded');
    expect(rig.lanes.runs).toHaveLength(1);
    release();
    expect(success(await first).lane).toBe('cold');
  });

  it('does not run what it holds and its sender gave up', async () => {
    const { held, release } = gate();
    const rig = await start('w-0', async (run) => {
      await held;
      return reverse(run);
    });
    // Too long for a second run to be sent ahead of its turn.
    await rig.readyRows(1, 10);
    const [running, waiting] = [newId(), newId()];
    const first = producer.sendRows(bytes(1, 1), { request: running });
    await vi.waitFor(() => expect(rig.lanes.runs).toHaveLength(1));
    const second = producer.sendRows(bytes(2, 2), { request: waiting });
    await vi.waitFor(() => expect(rig.serving.load.active).toBe(2));
    const notices = new Notices(producer.redis);
    // A job that is being read is not there yet.
    const tell = setInterval(() => {
      for (const request of [running, waiting]) void notices.publish({ kind: 'abandon', request });
    }, 50);
    expect(failure(await second)).toBe('canceled');
    clearInterval(tell);
    release();
    expect(success(await first).lane).toBe('ready');
    expect(rig.lanes.runs).toHaveLength(1);
  });

  it('answers tensor-gone where an input is no longer there, and deletes inputs after the answer', async () => {
    const rig = await start();
    await rig.ready(2);
    const gone = { id: newId(), bytes: 2 };
    const input = { name: 'x', dtype: 'uint8' as const, dims: [2] };
    expect(failure(await producer.send(bytes(1, 2), { inputs: [{ ...input, blob: gone }] }))).toBe('tensor-gone');
    const blob = await producer.blobs.put(bytes(1, 2), 60_000);
    const answer = await producer.send(bytes(1, 2), { inputs: [{ ...input, blob }] });
    expect(answer.inline[0]).toEqual(Buffer.from([2, 1]));
    await vi.waitFor(async () => expect(await producer.redis.exists(keys.blob(blob.id))).toBe(0));
  });

  it('puts large outputs into blobs that live as long as the job says', async () => {
    const rig = await start();
    await rig.ready(100_000);
    const data = new Uint8Array(100_000).fill(3);
    const blob = await producer.blobs.put(data, 60_000);
    const answer = await producer.send(data, {
      inputs: [{ name: 'x', dtype: 'uint8', dims: [100_000], blob }],
      answerBlobTtlMs: 10_000,
    });
    const output = success(answer).outputs[0];
    expect(answer.inline).toEqual([null]);
    expect(output?.blob).not.toBeNull();
    if (output?.blob === null || output === undefined) return;
    expect((await producer.blobs.get(output.blob))?.equals(data)).toBe(true);
    const ttl = await producer.redis.pttl(keys.blob(output.blob.id));
    expect(ttl).toBeGreaterThan(5_000);
    expect(ttl).toBeLessThanOrEqual(10_000);
  });

  it('does not run a repeat that was answered already', async () => {
    const rig = await start();
    await rig.ready(1);
    const request = newId();
    await producer.send(bytes(1), { request });
    void producer.send(bytes(1), { request, jobId: `${request}-2`, repeat: true, cold: true });
    const cold = producer.queue(coldQueueName(MODEL.name, MODEL.version));
    await vi.waitFor(async () => expect(await cold.getJobCountByTypes('waiting', 'active', 'completed')).toBe(0));
    expect(rig.lanes.runs).toHaveLength(1);
  });

  it('fails a job that is not of our form, and goes on', async () => {
    const rig = await start();
    await rig.ready(1);
    const queue = producer.queue(classQueueName(MODEL.name, MODEL.version, shapeOf(1)));
    await Reflect.apply(queue.add, queue, ['infer', { v: 9 }, { jobId: 'odd' }]);
    await vi.waitFor(async () => expect(await queue.getFailedCount()).toBe(1));
    const [failed] = await queue.getFailed();
    expect(JSON.parse(failed?.failedReason ?? '{}')).toMatchObject({ code: 'bad-request' });
    expect(success(await producer.send(bytes(1))).lane).toBe('ready');
  });

  it('unsubscribes before a lane goes, lets what runs end on it, and leaves the rest to the fallback', async () => {
    const { held, release } = gate();
    const rig = await start('w-0', async (run) => {
      await held;
      return reverse(run);
    });
    const lane = await rig.ready(1);
    const running = producer.send(bytes(1));
    await vi.waitFor(() => expect(rig.lanes.runs).toHaveLength(1));
    let left = false;
    const leaving = rig.lanes.leave(lane.id).then(() => {
      left = true;
    });
    const late = producer.send(bytes(1));
    const queue = producer.queue(classQueueName(MODEL.name, MODEL.version, shapeOf(1)));
    await vi.waitFor(async () => expect(await queue.getJobCountByTypes('prioritized', 'waiting')).toBe(1));
    expect(left).toBe(false);
    release();
    expect(success(await running).lane).toBe('ready');
    await leaving;
    const onLane = () => rig.lanes.runs.filter((run) => run.on === 'lane').length;
    const before = onLane();
    expect(success(await late)).toBeDefined();
    // A BullMQ Worker may fetch one more while it closes: that one ends on the lane, and nothing begins there later.
    expect(onLane()).toBe(before);
  });

  it('charges nobody for a runtime that was killed from outside', async () => {
    let dead = false;
    const rig = await start('w-0', async (run) => {
      if (run.on === 'lane' && !dead) {
        dead = true;
        await rig.runtimeDies();
        throw death(true);
      }
      return reverse(run);
    });
    await rig.ready(1);
    expect(success(await producer.send(bytes(1))).lane).toBe('cold');
    expect(rig.lanes.runs.map((run) => run.on)).toEqual(['lane', 'fallback']);
  });

  it('tries what was executing alone, and retries the rest without charge', async () => {
    const begun: ScriptedRun[] = [];
    const rig = await start('w-0', async (run) => {
      begun.push(run);
      const value = run.inputs[0]?.data[0];
      if (run.on === 'lane') {
        await vi.waitFor(() => expect(rig.serving.load.active).toBeGreaterThan(2));
        await rig.runtimeDies();
        throw death(false);
      }
      return bytes(value ?? 0);
    });
    await rig.ready(1);
    // They have waited: a backlog, of which more than one is fetched at a time however fast this machine is.
    const waited = { enqueuedAt: Date.now() - 50 };
    const answers = await Promise.all(Array.from({ length: 8 }, (_, n) => producer.send(bytes(n), waited)));
    expect(answers.map((answer) => answer.inline[0]?.[0])).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    const trials = begun.filter((run) => run.on === 'trial');
    expect(trials).toHaveLength(1);
    expect(await producer.redis.keys('{wl}:deaths:*')).toEqual([]);
  });

  it('calls an input poison that kills a runtime alone twice, and leaves the others alone', async () => {
    const rig = await start('w-0', async (run) => {
      if (run.inputs[0]?.data[0] === 66 && run.on !== 'fallback') {
        if (run.on === 'lane') await rig.runtimeDies();
        throw death(false);
      }
      return reverse(run);
    });
    await rig.ready(1);
    const request = newId();
    const [poison, other] = await Promise.all([producer.send(bytes(66), { request }), producer.send(bytes(1))]);
    expect(failure(poison)).toBe('poison');
    expect(success(other)).toBeDefined();
    expect(rig.lanes.runs.filter((run) => run.on === 'trial' && run.inputs[0]?.data[0] === 66)).toHaveLength(2);
    expect(await producer.redis.get(keys.deaths(request))).toBe('2');
  });

  it('adopts the queue of a worker that died about a second ago, and lets it go to a new holder', async () => {
    await start('w-1');
    const dead = await DyingHolder.start('w-0', fixture.server.url, shapeOf(1));
    const waiting = producer.send(bytes(5));
    await dead.holdsJob;
    const diedAt = performance.now();
    dead.die();
    const later = producer.send(bytes(6));
    expect(success(await later)).toMatchObject({ lane: 'cold', worker: 'w-1' });
    expect(performance.now() - diedAt).toBeLessThan(2_500);
    // The active one comes back with its lock, and is run again as it was never answered.
    expect(success(await waiting)).toMatchObject({ lane: 'cold', worker: 'w-1' });
    expect(performance.now() - diedAt).toBeLessThan(9_000);
    const third = await start('w-2');
    await third.ready(1);
    await vi.waitFor(async () => expect(success(await producer.send(bytes(7))).worker).toBe('w-2'), 5_000);
  });
});
