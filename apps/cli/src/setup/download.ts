import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SetupError } from '@warmlane/process';

export interface DownloadSpec {
  url: string;
  /** Where the file ends up, whole and checked. What has come so far lies beside it as `.part`. */
  target: string;
  bytes: number;
  /** As npm writes it: `sha512-<base64>`. */
  integrity: string;
  onProgress?: (doneBytes: number) => void;
}

/** A connection that stands still for so long is given up; the next try goes on where it ended. */
const IDLE_MS = 60_000;
const TRIES = 3;

/**
 * Fetches a file, going on where an earlier try or run ended, and checks size and digest. A file that is there already is
 * only checked.
 * @throws SetupError saying what to do; what has come so far is kept where it may be of use
 */
export async function download(spec: DownloadSpec): Promise<void> {
  if ((await sizeOf(spec.target)) === spec.bytes && (await integrityOf(spec.target)) === spec.integrity) return;
  await mkdir(dirname(spec.target), { recursive: true });
  const part = `${spec.target}.part`;
  let problem = '';
  for (let attempt = 1; attempt <= TRIES && (await sizeOf(part)) < spec.bytes; attempt += 1) {
    problem = await fetchRest(spec, part);
    if (problem === '') break;
  }
  const size = await sizeOf(part);
  if (size < spec.bytes) {
    throw new SetupError(
      `Cannot download ${spec.url}: ${problem}. ${size} of ${spec.bytes} bytes are in ${part}: run this again to go on`,
    );
  }
  const found = await integrityOf(part);
  if (size !== spec.bytes || found !== spec.integrity) {
    await rm(part);
    throw new SetupError(
      `${spec.url} is not what it should be: ${size} bytes with ${found}, expected ${spec.bytes} with ${spec.integrity}. ` +
        `It was removed; name another registry with --registry URL, or a file with --archive FILE`,
    );
  }
  await rename(part, spec.target);
}

/** @returns what went wrong; empty where the file is whole */
async function fetchRest(spec: DownloadSpec, part: string): Promise<string> {
  const idle = new AbortController();
  let timer = setTimeout(() => idle.abort(), IDLE_MS);
  try {
    const from = await sizeOf(part);
    const headers: Record<string, string> = from === 0 ? {} : { range: `bytes=${from}-` };
    const answer = await fetch(spec.url, { headers, signal: idle.signal });
    if (!answer.ok || answer.body === null) return `the server answered ${answer.status}`;
    // A server that knows no ranges sends the whole file.
    const resumed = answer.status === 206;
    const file = await open(part, resumed ? 'a' : 'w');
    let done = resumed ? from : 0;
    try {
      for await (const chunk of answer.body) {
        clearTimeout(timer);
        timer = setTimeout(() => idle.abort(), IDLE_MS);
        await file.write(chunk);
        done += chunk.byteLength;
        spec.onProgress?.(done);
      }
    } finally {
      await file.close();
    }
    return done >= spec.bytes ? '' : `the connection ended after ${done} bytes`;
  } catch (error) {
    const cause = error instanceof Error ? error.cause : undefined;
    return cause instanceof Error ? cause.message : String(error);
  } finally {
    clearTimeout(timer);
  }
}

async function sizeOf(file: string): Promise<number> {
  return (await stat(file).catch(() => null))?.size ?? 0;
}

export async function integrityOf(file: string): Promise<string> {
  const hash = createHash('sha512');
  for await (const chunk of createReadStream(file, { highWaterMark: 2 ** 20 })) hash.update(chunk as Buffer);
  return `sha512-${hash.digest('base64')}`;
}
