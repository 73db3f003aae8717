import Fastify from 'fastify';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { InFlight } from './in-flight.js';

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

/** A server with one request that waits until it is released. */
async function serverWithOneOpen(inFlight: InFlight) {
  const fastify = Fastify({ forceCloseConnections: true });
  inFlight.install(fastify);
  let release: () => void = () => undefined;
  let begun = false;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  fastify.get('/', async () => {
    begun = true;
    await held;
    return 'done';
  });
  const url = await fastify.listen({ port: 0, host: '127.0.0.1' });
  closing.push(() => fastify.close());
  const answer = fetch(url);
  answer.catch(() => undefined);
  await vi.waitFor(() => expect(begun).toBe(true), { timeout: 10_000 });
  return { answer, release };
}

const LIMITS = { limitMs: 60_000, awayLimitMs: 60_000, canAnswer: () => true };

describe('InFlight', () => {
  it('waits for what is open, and tells the client to leave', async () => {
    const inFlight = new InFlight();
    const { answer, release } = await serverWithOneOpen(inFlight);
    inFlight.begin();
    const drained = inFlight.drained(LIMITS);
    release();
    expect(await drained).toBe(0);
    expect((await answer).headers.get('connection')).toBe('close');
  });

  it.each([
    ['its limit', { ...LIMITS, limitMs: 20 }],
    ['the limit for times when nothing can be answered', { ...LIMITS, awayLimitMs: 20, canAnswer: () => false }],
  ])('goes on at %s', async (_what, limits) => {
    const inFlight = new InFlight();
    const { release } = await serverWithOneOpen(inFlight);
    expect(await inFlight.drained(limits)).toBe(1);
    release();
  });

  it('does not wait where nothing is open', async () => {
    expect(await new InFlight().drained(LIMITS)).toBe(0);
  });
});
