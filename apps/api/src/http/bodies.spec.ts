import { createHash } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { deflateSync, gunzipSync, gzipSync, inflateSync } from 'node:zlib';
import { WarmlaneError } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { BytesInFlight, Reservation } from './bytes-in-flight.js';
import { choosePacking, packBody } from './pack-body.js';
import { readBody, unpackBody } from './read-body.js';

function limits(limit = 1_000, budget = 10_000) {
  const bytes = new BytesInFlight(budget);
  return { bytes, limits: { limit, reservation: new Reservation(bytes) } };
}

async function failure(promise: Promise<unknown>): Promise<WarmlaneError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof WarmlaneError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

function streamOf(...chunks: Buffer[]): PassThrough {
  const stream = new PassThrough();
  for (const chunk of chunks) stream.write(chunk);
  stream.end();
  return stream;
}

describe('readBody', () => {
  it('does not copy a body that comes in one chunk', async () => {
    const chunk = Buffer.from('abc');
    const hash = createHash('sha256');
    const body = await readBody(streamOf(chunk), 3, limits().limits, hash);
    expect(body.toString()).toBe('abc');
    expect(body.buffer).toBe(chunk.buffer);
    expect(hash.digest('hex')).toBe(createHash('sha256').update('abc').digest('hex'));
  });

  it('joins chunks, with or without a declared length', async () => {
    const chunks = [Buffer.from('ab'), Buffer.from('cde')];
    expect((await readBody(streamOf(...chunks), 5, limits().limits, null)).toString()).toBe('abcde');
    const { bytes, limits: open } = limits();
    expect((await readBody(streamOf(...chunks), null, open, null)).toString()).toBe('abcde');
    expect(bytes.used).toBe(5);
    open.reservation.release();
    expect(bytes.used).toBe(0);
  });

  it('refuses a body without a length as soon as it passes the limit or the budget', async () => {
    const large = Buffer.alloc(600);
    expect((await failure(readBody(streamOf(large, large), null, limits(1_000).limits, null))).code).toBe('too-large');
    const scarce = limits(10_000, 1_000);
    expect((await failure(readBody(streamOf(large, large), null, scarce.limits, null))).code).toBe('overloaded');
  });

  it('says that the client broke off', async () => {
    const stream = new PassThrough();
    stream.write(Buffer.from('abc'));
    const reading = readBody(stream, 10, limits().limits, null);
    stream.destroy();
    expect((await failure(reading)).code).toBe('canceled');
  });
});

describe('unpackBody', () => {
  const text = Buffer.from('tensor'.repeat(50));

  it('takes gzip, deflate and identity', async () => {
    expect(await unpackBody(gzipSync(text), 'gzip', limits().limits)).toEqual(text);
    expect(await unpackBody(deflateSync(text), 'Deflate', limits().limits)).toEqual(text);
    expect(await unpackBody(text, 'identity', limits().limits)).toBe(text);
  });

  it.each(['br', 'zstd', 'gzip, gzip'])('does not support %s', async (encoding) => {
    const error = await failure(unpackBody(text, encoding, limits().limits));
    expect(error.code).toBe('not-supported');
    expect(error.hint).toContain('gzip, deflate');
  });

  it('refuses broken and truncated data', async () => {
    expect((await failure(unpackBody(text, 'gzip', limits().limits))).code).toBe('bad-request');
    const cut = gzipSync(text).subarray(0, 20);
    expect((await failure(unpackBody(cut, 'gzip', limits().limits))).code).toBe('bad-request');
  });

  it('stops a small body that unpacks to more than the limit', async () => {
    const bomb = gzipSync(Buffer.alloc(50 * 2 ** 20));
    expect(bomb.byteLength).toBeLessThan(100_000);
    expect((await failure(unpackBody(bomb, 'gzip', limits(2 ** 20, 2 ** 30).limits))).code).toBe('too-large');
    const scarce = limits(2 ** 30, 2 ** 20);
    expect((await failure(unpackBody(bomb, 'gzip', scarce.limits))).code).toBe('overloaded');
    expect(scarce.bytes.used).toBeLessThanOrEqual(2 ** 20);
  });
});

describe('packing of answers', () => {
  it.each([
    [undefined, null],
    ['', null],
    ['identity', null],
    ['*', null],
    ['gzip', 'gzip'],
    ['deflate', 'deflate'],
    ['deflate, gzip', 'gzip'],
    ['gzip;q=0.5, deflate', 'deflate'],
    ['gzip;q=0, deflate;q=0', null],
    ['br, GZIP', 'gzip'],
  ])('accept-encoding %j -> %j', (accept, packing) => {
    expect(choosePacking(accept)).toBe(packing);
  });

  it('packs what is worth it', async () => {
    const body = Buffer.alloc(10_000, 'ab');
    const packed = await packBody(body, 'gzip');
    expect(packed === null ? null : gunzipSync(packed)).toEqual(body);
    const deflated = await packBody(body, 'deflate');
    expect(deflated === null ? null : inflateSync(deflated)).toEqual(body);
    expect(await packBody(Buffer.alloc(100), 'gzip')).toBeNull();
  });
});

describe('BytesInFlight', () => {
  it('is exact, and gives back once', () => {
    const bytes = new BytesInFlight(100);
    const first = new Reservation(bytes);
    first.add(60);
    expect(() => new Reservation(bytes).add(41)).toThrow(/60 of 100 bytes are in use, 41 more/);
    const second = new Reservation(bytes);
    second.add(40);
    first.release();
    first.release();
    expect(bytes.used).toBe(40);
    expect(() => first.add(1)).toThrow(/ended before/);
  });
});
