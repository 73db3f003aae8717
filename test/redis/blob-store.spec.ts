import { randomBytes } from 'node:crypto';
import { BLOB_PIECE_BYTES, BlobStore, keys } from '@warmlane/redis';
import { describe, expect, it, vi } from 'vitest';
import { useRedis } from './redis-client.fixture.js';

const fixture = useRedis();
const store = (limitBytes = 2 ** 30): BlobStore => new BlobStore(fixture.redis, fixture.redis, { limitBytes });

describe('BlobStore', () => {
  it.each([0, 1, BLOB_PIECE_BYTES, BLOB_PIECE_BYTES + 1, 3 * BLOB_PIECE_BYTES])(
    'keeps %i bytes as they are',
    async (n) => {
      const data = randomBytes(n);
      const ref = await store().put(data, 60_000);
      expect(ref).toEqual({ id: expect.stringMatching(/^[0-9a-f]{32}$/), bytes: n });
      const pieces =
        n <= BLOB_PIECE_BYTES
          ? [keys.blob(ref.id)]
          : [0, 1, 2].slice(0, Math.ceil(n / BLOB_PIECE_BYTES)).map((p) => keys.blobPiece(ref.id, p));
      expect((await fixture.redis.keys('{wl}:blob:*')).sort()).toEqual(pieces);
      const lengths = await Promise.all(pieces.map((key) => fixture.redis.strlen(key)));
      for (const length of lengths.slice(0, -1)) expect(length).toBe(BLOB_PIECE_BYTES);
      expect(lengths.reduce((sum, length) => sum + length, 0)).toBe(n);
      // Read twice: a job that runs again needs its input again.
      expect((await store().get(ref))?.equals(data)).toBe(true);
      expect((await store().get(ref))?.equals(data)).toBe(true);
      for (const key of pieces) expect(await fixture.redis.pttl(key)).toBeGreaterThan(50_000);
      await store().unlink(ref);
      expect(await store().get(ref)).toBeNull();
      expect(await store().reservedBytes()).toBe(0);
      expect(await fixture.redis.keys('*')).toEqual([]);
    },
  );

  it('reads what a producer in another language wrote, and refuses a lying length', async () => {
    const id = 'c'.repeat(32);
    await fixture.redis.set(keys.blobPiece(id, 0), Buffer.alloc(BLOB_PIECE_BYTES, 1));
    await fixture.redis.set(keys.blobPiece(id, 1), Buffer.alloc(5, 2));
    const bytes = BLOB_PIECE_BYTES + 5;
    expect((await store().get({ id, bytes }))?.subarray(-6)).toEqual(Buffer.from([1, 2, 2, 2, 2, 2]));
    expect(await store().get({ id, bytes: bytes - 1 })).toBeNull();
    expect(await store().get({ id, bytes: 3 * BLOB_PIECE_BYTES })).toBeNull();
    await expect(store().get({ id, bytes: 2 ** 40 })).rejects.toMatchObject({ code: 'too-large' });
    await store().unlink({ id, bytes });
    expect(await fixture.redis.keys('*')).toEqual([]);
  });

  it('accepts exactly 50 of 100 at a limit of 50, and the rest once they are unlinked', async () => {
    const limited = store(50 * 1_000);
    const put = () => Promise.allSettled(Array.from({ length: 100 }, () => limited.put(Buffer.alloc(1_000), 60_000)));
    const first = await put();
    const kept = first.filter((one) => one.status === 'fulfilled').map((one) => one.value);
    expect(kept).toHaveLength(50);
    for (const one of first) if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: 'overloaded' });
    expect(await limited.reservedBytes()).toBe(50_000);
    await Promise.all(kept.flatMap((ref) => [limited.unlink(ref), limited.unlink(ref)]));
    expect(await limited.reservedBytes()).toBe(0);
    expect((await put()).filter((one) => one.status === 'fulfilled')).toHaveLength(50);
  });

  it('sent ahead it is there for the next command of the connection, and refused it leaves nothing', async () => {
    const limited = store(1_000);
    const { ref, stored } = limited.putAhead(Buffer.from('ahead'), 60_000);
    expect((await fixture.redis.getBuffer(keys.blob(ref.id)))?.toString()).toBe('ahead');
    await stored;
    const refused = limited.putAhead(Buffer.alloc(1_000), 60_000);
    await expect(refused.stored).rejects.toMatchObject({ code: 'overloaded' });
    expect(await limited.get(refused.ref)).toBeNull();
    expect(await limited.reservedBytes()).toBe(5);
    expect(() => limited.putAhead(Buffer.alloc(BLOB_PIECE_BYTES + 1), 60_000)).toThrow(/one piece/);
  });

  it('gives bytes back when blobs expire', async () => {
    const limited = store(2_000);
    await limited.put(Buffer.alloc(2_000), 50);
    await expect(limited.put(Buffer.alloc(1), 60_000)).rejects.toMatchObject({ code: 'overloaded' });
    await vi.waitFor(() => limited.put(Buffer.alloc(2_000), 60_000));
    expect(await limited.reservedBytes()).toBe(2_000);
  });

  it('a longer life holds for bytes and reservation', async () => {
    const limited = store(1_000);
    const ref = await limited.put(Buffer.alloc(1_000), 100);
    await limited.expire(ref, 60_000);
    expect(await fixture.redis.pttl(keys.blob(ref.id))).toBeGreaterThan(50_000);
    const [, score] = await fixture.redis.zrange(keys.blobReservations(), '0', '-1', 'WITHSCORES');
    const [seconds] = await fixture.redis.time();
    expect(Number(score) / 1_000 - Number(seconds)).toBeGreaterThan(50);
  });

  it('says overloaded and keeps no reservation where Redis is out of memory', async () => {
    const used = Number(/used_memory:(\d+)/.exec(await fixture.redis.info('memory'))?.[1]);
    await fixture.redis.config('SET', 'maxmemory', String(used + 8 * BLOB_PIECE_BYTES));
    try {
      await expect(store().put(Buffer.alloc(32 * BLOB_PIECE_BYTES), 60_000)).rejects.toMatchObject({
        code: 'overloaded',
      });
    } finally {
      await fixture.redis.config('SET', 'maxmemory', '0');
    }
    expect(await fixture.redis.keys('*')).toEqual([]);
  });

  it('keeps values and budget apart where blobs have a Redis of their own', async () => {
    const blobs = fixture.connect('blobs');
    await blobs.select(1);
    const apart = new BlobStore(blobs, fixture.redis, { limitBytes: 1_000 });
    const ref = await apart.put(Buffer.from('tensor'), 60_000);
    expect(await blobs.keys('*')).toEqual([keys.blob(ref.id)]);
    expect((await fixture.redis.keys('*')).sort()).toEqual([keys.blobBytes(), keys.blobReservations()]);
    expect((await apart.get(ref))?.toString()).toBe('tensor');
    await apart.unlink(ref);
    expect(await blobs.dbsize()).toBe(0);
  });
});
