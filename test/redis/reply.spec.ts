import { type AnswerHead, newId } from '@warmlane/contracts';
import { type Answer, InferenceStore, keys, ReplyReader, ReplyStore } from '@warmlane/redis';
import { describe, expect, it, vi } from 'vitest';
import { X } from './documents.fixture.js';
import { useRedis } from './redis-client.fixture.js';

const fixture = useRedis({ persistence: 'aof' });
const store = (): ReplyStore => new ReplyStore(fixture.redis);
const headOf = (bytes: number): AnswerHead => ({
  ok: true,
  lane: 'ready',
  shapeKey: X,
  worker: 'w-0',
  timing: { queueMs: 1, gatherMs: 0, copyMs: 0, computeMs: 2 },
  outputs: [{ name: 'y', dtype: 'uint8', dims: [bytes], bytes, blob: null }],
});
const body = (request: string): Buffer => Buffer.from([0, 255, ...Buffer.from(request)]);
const answer = (request: string, producer: string): Promise<boolean> =>
  store().answer(request, producer, headOf(body(request).byteLength), [body(request)]);

describe('ReplyStore', () => {
  it('answers once, however many workers answer at the same time', async () => {
    const request = newId();
    const done = await Promise.all(
      Array.from({ length: 20 }, (_, n) => store().answer(request, 'api', headOf(1), [Buffer.from([n])])),
    );
    expect(done.filter(Boolean)).toHaveLength(1);
    const [read] = await store().read([request]);
    expect(read?.inline[0]?.[0]).toBe(done.indexOf(true));
    expect(await fixture.redis.xlen(keys.replies('api'))).toBe(1);
    expect(await fixture.redis.pttl(keys.reply(request))).toBeGreaterThan(55_000);
    expect(await fixture.redis.pttl(keys.replies('api'))).toBeGreaterThan(55_000);
  });

  it('reads binary answers as they are, in order, null where there is none', async () => {
    await answer('a', 'api');
    await store().answer('f', 'api', {
      ok: false,
      error: { code: 'poison', message: 'm', hint: '', retryable: false },
    });
    const [a, none, failed] = await store().read(['a', 'nobody', 'f']);
    expect(a?.inline[0]?.equals(body('a'))).toBe(true);
    expect(none).toBeNull();
    expect(failed?.head).toMatchObject({ ok: false, error: { code: 'poison' } });
    expect(await store().read([])).toEqual([]);
    expect(await store().exists('a')).toBe(true);
    expect(await store().exists('nobody')).toBe(false);
  });

  it('writes those of one turn together, each once and to its own producer', async () => {
    const replies = store();
    await replies.answer('n-7', 'first', headOf(1), [Buffer.from([1])]);
    await fixture.redis.config('RESETSTAT');
    const answered = await Promise.all(
      Array.from({ length: 40 }, async (_, n) => {
        const request = `n-${n}`;
        const large = n === 9 ? 200_000 : 1;
        const ttlMs = n === 3 ? 5_000 : undefined;
        const written = await replies.answer(request, `api-${n % 3}`, headOf(large), [Buffer.alloc(large, n)], ttlMs);
        return { request, written };
      }),
    );
    expect(answered.filter(({ written }) => !written)).toEqual([{ request: 'n-7', written: false }]);
    const scripts = /cmdstat_evalsha:calls=(\d+)/.exec(await fixture.redis.info('commandstats'))?.[1];
    expect(Number(scripts)).toBeLessThanOrEqual(5);
    const read = await replies.read(answered.map(({ request }) => request));
    expect(read.map((one) => one?.inline[0]?.[0])).toEqual(Array.from({ length: 40 }, (_, n) => (n === 7 ? 1 : n)));
    expect(await fixture.redis.pttl(keys.reply('n-3'))).toBeLessThanOrEqual(5_000);
    for (const [n, length] of [14, 12, 13].entries()) {
      const entries = await fixture.redis.xrange(keys.replies(`api-${n}`), '-', '+');
      expect(entries).toHaveLength(length);
      expect(entries.every(([, fields]) => Number(fields[1]?.slice(2)) % 3 === n)).toBe(true);
    }
  });

  it('rejects for each of them where Redis refuses the write, and writes when asked again', async () => {
    const replies = store();
    await fixture.redis.config('SET', 'maxmemory', '1');
    const both = [0, 1].map((n) => replies.answer(`o-${n}`, 'api', headOf(1), [Buffer.from([n])]));
    const outcomes = await Promise.allSettled(both);
    await fixture.redis.config('SET', 'maxmemory', '0');
    expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(await replies.answer('o-0', 'api', headOf(1), [Buffer.from([0])])).toBe(true);
  });

  it('an answer of another form fails alone', async () => {
    await fixture.redis.set(keys.reply('bad'), 'garbage');
    await answer('good', 'api');
    const [bad, good] = await store().read(['bad', 'good']);
    expect(bad?.head).toMatchObject({ ok: false, error: { code: 'internal' } });
    expect(good?.head.ok).toBe(true);
  });
});

describe('InferenceStore', () => {
  it('runs until it is answered, is its owner’s alone, and ends with its answer', async () => {
    const inferences = new InferenceStore(fixture.redis);
    const doc = {
      id: newId(),
      owner: 'key-1',
      model: 'rec',
      version: '1',
      shapeKey: X,
      acceptedAt: 1,
      deadlineAt: 2,
      note: '',
    };
    await inferences.create(doc, 3_600_000);
    expect(await inferences.get(doc.id, 'key-1')).toEqual({ doc, answer: null });
    expect(await inferences.get(doc.id, 'key-2')).toBeNull();
    expect(await inferences.get(newId(), 'key-1')).toBeNull();
    await answer(doc.id, 'api');
    const done = await inferences.get(doc.id, 'key-1');
    expect(done?.answer?.inline[0]?.equals(body(doc.id))).toBe(true);
    expect(await fixture.redis.pttl(keys.result(doc.id))).toBeLessThanOrEqual(60_000);
    await inferences.remove(doc.id);
    expect(await inferences.get(doc.id, 'key-1')).toBeNull();
  });
});

describe('ReplyReader', () => {
  const wait = (reader: ReplyReader, request: string): Promise<Answer> =>
    new Promise((resolve) => reader.expect(request, resolve));

  it('hands an answer out as it comes, not by the sweep', async () => {
    const producer = newId();
    const reader = new ReplyReader(fixture.redis, store(), producer, undefined, { sweepEveryMs: 3_600_000 });
    for (let n = 0; n < 20; n += 1) {
      const request = newId();
      const waiting = wait(reader, request);
      await answer(request, producer);
      await waiting;
    }
    await reader.close();
  });

  it('brings a small answer with its name, a large one by its name', async () => {
    const producer = newId();
    const reading = new ReplyStore(fixture.redis);
    const read = vi.spyOn(reading, 'read');
    const reader = new ReplyReader(fixture.redis, reading, producer, undefined, { sweepEveryMs: 3_600_000 });
    const send = async (bytes: number): Promise<Answer> => {
      const request = newId();
      const waiting = wait(reader, request);
      const data = Buffer.alloc(bytes, 7);
      await store().answer(request, producer, headOf(bytes), [data]);
      const got = await waiting;
      expect(got.inline[0]?.equals(data)).toBe(true);
      return got;
    };
    await send(16);
    await send(600);
    expect(read.mock.calls.flatMap(([requests]) => requests)).toEqual([]);
    await send(1_024);
    await send(60_000);
    expect(read.mock.calls.flatMap(([requests]) => requests)).toHaveLength(2);
    const entries = await fixture.redis.xrange(keys.replies(producer), '-', '+');
    expect(entries.map(([, fields]) => fields.length)).toEqual([4, 4, 2, 2]);
    await reader.close();
  });

  it('hands each of 1,000 answers to who waits for it', async () => {
    const producer = newId();
    const reader = new ReplyReader(fixture.redis, store(), producer);
    const requests = Array.from({ length: 1_000 }, () => newId());
    const waiting = requests.map((request) => wait(reader, request));
    await Promise.all(requests.map((request) => answer(request, producer)));
    const answers = await Promise.all(waiting);
    answers.forEach((got, n) => {
      expect(got.inline[0]?.equals(body(requests[n] ?? ''))).toBe(true);
    });
    expect(reader.size).toBe(0);
    await reader.close();
  });

  it('gives everything else a turn between the answers of one read', async () => {
    const producer = newId();
    const requests = Array.from({ length: 200 }, () => newId());
    // All are there before the first read.
    for (const request of requests) await answer(request, producer);
    const reader = new ReplyReader(fixture.redis, store(), producer, undefined, { sweepEveryMs: 3_600_000 });
    let turns = 0;
    let done = false;
    const turn = (): void => {
      turns += 1;
      if (!done) setImmediate(turn);
    };
    const handed: number[] = [];
    const waiting = requests.map((request) => wait(reader, request).then(() => void handed.push(turns)));
    setImmediate(turn);
    await Promise.all(waiting);
    done = true;
    const perTurn = new Map<number, number>();
    for (const at of handed) perTurn.set(at, (perTurn.get(at) ?? 0) + 1);
    expect(Math.max(...perTurn.values())).toBeLessThanOrEqual(16);
    await reader.close();
  });

  it('passes over an answer that is not of its form: its request fails, the others get theirs, and it is logged', async () => {
    const producer = newId();
    const warn = vi.fn();
    const logger = { info: vi.fn(), warn, error: vi.fn() };
    const reader = new ReplyReader(fixture.redis, new ReplyStore(fixture.redis, logger), producer, logger, {
      sweepEveryMs: 3_600_000,
    });
    const forms = ['', 'garbage', '\xff\xff\xff\xff', '\x02\x00\x00\x00{}'].map((text) => Buffer.from(text, 'latin1'));
    const bad = forms.map(() => newId());
    const good = [newId(), newId()];
    const waiting = [...bad, ...good].map((request) => wait(reader, request));
    reader.expect('thrower', () => {
      throw new Error('whoever waited is broken');
    });
    const batch = fixture.redis.multi();
    for (const [n, form] of forms.entries()) {
      batch.set(keys.reply(bad[n] ?? ''), form).xadd(keys.replies(producer), '*', 'r', bad[n] ?? '');
    }
    // Nobody waits for this one, whatever it is.
    batch.xadd(keys.replies(producer), '*', 'r', newId(), 'a', 'garbage');
    batch.xadd(keys.replies(producer), '*', 'other', 'fields').xadd(keys.replies(producer), '*', 'r', 'thrower');
    batch.set(keys.reply('thrower'), 'garbage');
    await batch.exec();
    for (const request of good) await answer(request, producer);
    const answers = await Promise.all(waiting);
    for (const got of answers.slice(0, bad.length)) {
      expect(got.head).toMatchObject({ ok: false, error: { code: 'internal', retryable: false } });
    }
    for (const got of answers.slice(bad.length)) expect(got.head.ok).toBe(true);
    expect(warn.mock.calls.map(([fields]) => fields.request)).toEqual([...bad, 'thrower']);
    const after = newId();
    const waitingAfter = wait(reader, after);
    await answer(after, producer);
    expect((await waitingAfter).head.ok).toBe(true);
    await reader.close();
  });

  it('misses nothing while its connection is killed 20 times, by the stream alone', async () => {
    const producer = newId();
    const reader = new ReplyReader(fixture.redis, store(), producer, undefined, { sweepEveryMs: 3_600_000 });
    const admin = fixture.connect('admin');
    let kills = 0;
    let stop = false;
    const killing = (async () => {
      while (!stop || kills < 20) {
        const list = String(await admin.client('LIST'));
        const id = list
          .split('\n')
          .find((line) => line.includes('name=replies ') && line.includes('cmd=xread'))
          ?.match(/\bid=(\d+)/)?.[1];
        if (id !== undefined && (await admin.client('KILL', 'ID', Number(id))) === 1) kills += 1;
      }
    })();
    const settled = vi.fn();
    let sent = 0;
    const sendSome = async (): Promise<void> => {
      const requests = Array.from({ length: 64 }, () => newId());
      const waiting = requests.map((request) => wait(reader, request).then(settled));
      await Promise.all(requests.map((request) => answer(request, producer)));
      sent += requests.length;
      await Promise.all(waiting);
    };
    while (kills < 20) await sendSome();
    stop = true;
    await killing;
    await sendSome();
    expect(kills).toBeGreaterThanOrEqual(20);
    expect(settled).toHaveBeenCalledTimes(sent);
    await reader.close();
  });

  it('finds answers whose names were lost with the stream', async () => {
    const producer = newId();
    const reader = new ReplyReader(fixture.redis, store(), producer);
    const waiting = wait(reader, 'swept');
    // Told to nobody's stream, as if Redis had lost this producer's.
    await answer('swept', 'another');
    expect((await waiting).head.ok).toBe(true);
    await vi.waitFor(() => expect(reader.swept).toBe(1));
    await reader.close();
  });

  it('goes on after Redis was killed and came back with its append-only file', async () => {
    const producer = newId();
    const reader = new ReplyReader(fixture.redis, store(), producer);
    await fixture.redis.config('SET', 'appendfsync', 'always');
    await answer('before', producer);
    const late = wait(reader, 'before-restart');
    await answer('before-restart', producer);
    await fixture.server.kill();
    await fixture.server.restart();
    expect((await late).head.ok).toBe(true);
    const after = wait(reader, 'after');
    expect(await answer('before', producer)).toBe(false);
    expect(await answer('after', producer)).toBe(true);
    expect((await after).inline[0]?.equals(body('after'))).toBe(true);
    await reader.close();
  });

  it('tells once of an answer that comes when nobody waits any more, or never comes', async () => {
    const producer = newId();
    const reader = new ReplyReader(fixture.redis, store(), producer);
    const seen: [string, string | null][] = [];
    const watch = (request: string, ttlMs = 60_000): void =>
      reader.watchLate(request, ttlMs, (late) => void seen.push([request, late?.inline[0]?.toString('hex') ?? null]));
    for (const request of ['late', 'never']) watch(request);
    reader.neverComes('never');
    reader.neverComes('never');
    await answer('late', producer);
    await expect.poll(() => seen.length).toBe(2);
    expect(seen).toEqual([
      ['never', null],
      ['late', body('late').toString('hex')],
    ]);
    await reader.close();
  });

  it('forgets who no longer waits, and closes twice', async () => {
    const reader = new ReplyReader(fixture.redis, store(), newId());
    const settle = vi.fn();
    reader.expect('r', settle);
    expect(reader.forget('r')).toBe(true);
    expect(reader.forget('r')).toBe(false);
    await Promise.all([reader.close(), reader.close()]);
    expect(settle).not.toHaveBeenCalled();
  });
});
