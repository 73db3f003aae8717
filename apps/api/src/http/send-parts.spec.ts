import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SlotRef } from '@warmlane/contracts';
import { HeldSlot, SharedMemory } from '@warmlane/shm';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { sendParts } from './send-parts.js';

// More than both socket buffers hold, so that a client that does not read holds up the sender.
const BYTES = 48_000_001;
const HEAD = Buffer.from('{"head":1}');
const LONG_MS = 600_000;
const waiting = { timeout: 20_000, interval: 10 };

let dir: string;
let memory: SharedMemory;
let server: Server;
let answer: (response: ServerResponse) => Promise<void>;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'warmlane-parts-'));
  memory = new SharedMemory({ dir, limitBytes: 2 ** 28 });
  server = createServer((_request, response) => void answer(response)).listen(0, '127.0.0.1');
  await once(server, 'listening');
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
  memory.close();
  rmSync(dir, { recursive: true, force: true });
});

function bytesOf(seed: number): Buffer {
  const data = Buffer.alloc(BYTES);
  for (let at = 0; at < BYTES; at += 1_009) data[at] = (at + seed) % 251;
  return data;
}

async function put(data: Buffer): Promise<SlotRef> {
  const ref = await memory.put(data, LONG_MS);
  if (ref === null) throw new Error('no slot');
  return ref;
}

/** True once its reader has told the slot's owner that it is done: the header names the use as freed. */
function isFree(ref: SlotRef): boolean {
  return readFileSync(memory.reader.fileOf(ref)).toString('hex', 16, 32) === ref.token;
}

async function ask(): Promise<IncomingMessage> {
  const address = server.address();
  const port = address === null || typeof address === 'string' ? 0 : address.port;
  const asked = request({ host: '127.0.0.1', port }).end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  return response;
}

async function bodyOf(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function send(response: ServerResponse, slot: HeldSlot, patienceMs: number): Promise<void> {
  response.setHeader('content-length', HEAD.byteLength + slot.ref.bytes);
  return sendParts(response, [HEAD, slot], { patienceMs });
}

it('sends bytes and slots in their order, and frees each slot', async () => {
  const data = bytesOf(1);
  const ref = await put(data);
  answer = (response) => send(response, new HeldSlot(ref, memory.reader), LONG_MS);
  const body = await bodyOf(await ask());
  expect(body.equals(Buffer.concat([HEAD, data]))).toBe(true);
  expect(isFree(ref)).toBe(true);
});

it('copies what a slow client has not taken, so that its slot can be used again at once', async () => {
  const data = bytesOf(2);
  const ref = await put(data);
  answer = (response) => send(response, new HeldSlot(ref, memory.reader), 20);
  const response = await ask();
  response.pause();
  await vi.waitUntil(() => isFree(ref), waiting);
  expect((await put(bytesOf(3))).slot).toBe(ref.slot);
  expect((await bodyOf(response)).equals(Buffer.concat([HEAD, data]))).toBe(true);
});

it('frees the slot of a client that leaves in the middle of its answer', async () => {
  const ref = await put(bytesOf(4));
  const ended = vi.fn();
  answer = (response) => send(response, new HeldSlot(ref, memory.reader), LONG_MS).then(ended);
  const response = await ask();
  await once(response, 'readable');
  response.destroy();
  await vi.waitUntil(() => ended.mock.calls.length > 0, waiting);
  expect(isFree(ref)).toBe(true);
});

it('frees the slot of a client that had left before', async () => {
  const ref = await put(bytesOf(6));
  const ended = vi.fn();
  answer = async (response) => {
    response.destroy();
    await send(response, new HeldSlot(ref, memory.reader), LONG_MS).then(ended);
  };
  await expect(ask()).rejects.toThrow();
  await vi.waitUntil(() => ended.mock.calls.length > 0, waiting);
  expect(isFree(ref)).toBe(true);
});

it('cuts the connection where the slot was used again, and never sends bytes of another request', async () => {
  const data = bytesOf(8);
  const ref = await put(data);
  const ended = vi.fn();
  answer = (response) => send(response, new HeldSlot(ref, memory.reader), LONG_MS).then(ended);
  const response = await ask();
  response.pause();
  memory.free(ref);
  expect((await put(bytesOf(9))).slot).toBe(ref.slot);
  const got: Buffer[] = [];
  response.on('data', (chunk: Buffer) => got.push(chunk));
  const failed = once(response, 'error');
  response.resume();
  const [error] = (await failed) as [Error];
  expect(error.message).toBe('aborted');
  const body = Buffer.concat(got);
  expect(body.equals(Buffer.concat([HEAD, data]).subarray(0, body.byteLength))).toBe(true);
});

it('reads on where the process that wrote it has died and its folder is gone', async () => {
  const data = bytesOf(10);
  const held = new HeldSlot(await put(data), memory.reader);
  memory.close();
  answer = (response) => send(response, held, LONG_MS);
  expect((await bodyOf(await ask())).equals(Buffer.concat([HEAD, data]))).toBe(true);
  expect(() => new HeldSlot(held.ref, memory.reader)).toThrow(expect.objectContaining({ code: 'tensor-gone' }));
});
