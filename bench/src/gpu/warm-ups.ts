import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';

const POLL_MS = 10;

const createdSchema = z.object({ id: z.string() });
const viewSchema = z.object({ state: z.string(), reason: z.string(), ready: z.number().int() });
const workersSchema = z.object({
  workers: z.array(z.object({ state: z.string(), memory: z.object({ used: z.number() }) })),
});

async function getJson(url: string): Promise<unknown> {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: status ${answer.status}: ${await answer.text()}`);
  return answer.json();
}

/** Waits until a condition holds, ms. */
export async function until(what: string, limitMs: number, holds: () => Promise<boolean>): Promise<void> {
  const limit = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > limit) throw new Error(`${what}: not within ${limitMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** A worker serves and the model's metadata is there: it takes warm-ups. */
export async function untilTaken(url: string, model: string, limitMs: number): Promise<void> {
  await until(`${model} is loaded`, limitMs, async () => {
    const { workers } = workersSchema.parse(await getJson(`${url}/v1/workers`));
    return workers.some(({ state }) => state === 'serving') && (await fetch(`${url}/v2/models/${model}`)).ok;
  });
}

const lanesSchema = z.object({
  lanes: z.array(
    z.object({
      record: z.object({ createMs: z.number(), firstMs: z.number(), captureMs: z.number().nullable() }).nullable(),
    }),
  ),
});

/** What each step of the lanes' making took by their records, summed, ms: side by side they take less. */
export async function stepSums(url: string): Promise<{ createMs: number; firstMs: number; captureMs: number }> {
  const { lanes } = lanesSchema.parse(await getJson(`${url}/v1/lanes`));
  const sums = { createMs: 0, firstMs: 0, captureMs: 0 };
  for (const { record } of lanes) {
    sums.createMs += record?.createMs ?? 0;
    sums.firstMs += record?.firstMs ?? 0;
    sums.captureMs += record?.captureMs ?? 0;
  }
  return sums;
}

/** Bytes that the only worker has booked for its lanes. */
export async function bookedBytes(url: string): Promise<number> {
  const { workers } = workersSchema.parse(await getJson(`${url}/v1/workers`));
  return workers[0]?.memory.used ?? 0;
}

/**
 * Asks for lanes and waits until all are READY; throws where one is not.
 * @returns when the request was sent and when its acceptance was there, ms since 1970
 */
export async function warmUp(
  url: string,
  of: { model: string; shapes: readonly string[]; limitMs: number },
): Promise<{ sentAt: number; acceptedAt: number }> {
  const sentAt = Date.now();
  const answer = await fetch(`${url}/v1/models/${of.model}/versions/1/warmups`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ shapes: of.shapes }),
  });
  const text = await answer.text();
  if (answer.status !== 202) throw new Error(`the warm-up was answered ${answer.status}: ${text}`);
  const acceptedAt = Date.now();
  const { id } = createdSchema.parse(JSON.parse(text));
  await until(`warm-up of ${of.shapes.length} lanes`, of.limitMs, async () => {
    const { state, reason } = viewSchema.parse(await getJson(`${url}/v1/warmups/${id}`));
    if (['partial', 'failed', 'canceled'].includes(state)) throw new Error(`the warm-up is ${state}: ${reason}`);
    return state === 'ready';
  });
  return { sentAt, acceptedAt };
}

/** Files of references by their inode: one that is read keeps it, one that is computed anew has another. */
export async function referenceFiles(data: string): Promise<Map<string, number>> {
  const folder = join(data, 'references');
  const files = await readdir(folder, { recursive: true, withFileTypes: true });
  const found = files.filter((file) => file.isFile()).map((file) => join(file.parentPath, file.name));
  return new Map(await Promise.all(found.map(async (file) => [file, (await stat(file)).ino] as const)));
}

/** How many of these files are new or were written again. */
export function writtenSince(before: Map<string, number>, after: Map<string, number>): number {
  return [...after].filter(([file, inode]) => before.get(file) !== inode).length;
}
