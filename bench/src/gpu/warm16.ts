import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BenchFolder } from '../support/repository.js';
import { median, type Row, round } from '../support/result.js';
import { System, startRedis } from '../support/system.js';
import type { PartOptions } from './part-options.js';
import { note } from './progress.js';
import { modelPath } from './stage.js';
import { bookedBytes, referenceFiles, stepSums, untilTaken, warmUp, writtenSince } from './warm-ups.js';
import { SHAPES } from './warm16-shapes.js';
import { captureSpans, WorkerLog } from './worker-log.js';

const YAML = 'options: { cudnn_conv_algo_search: HEURISTIC }\ninputs: { x: { random: [-1, 1] } }\n';
const LIMIT_MS = 600_000;
const MIB = 2 ** 20;

export interface WarmTimes {
  rows: Row[];
  figures: Record<string, number>;
}

/**
 * 16 lanes of text recognition by one warm-up over HTTP, from the request's sending to the 16th capture and to the 16th
 * READY. A first pass fills the data folder with the references and with the notes on memory; each measured pass has a new
 * Redis and new processes, with that folder. The worker is up and holds the model, and has made no lane.
 * @param freeBytes free on the device, all processes counted in; null on the CPU, where what the worker booked is taken
 */
export async function measureWarm16(
  options: PartOptions,
  scratch: string,
  freeBytes: (() => number) | null,
): Promise<WarmTimes> {
  await using folder = await BenchFolder.create();
  await folder.add('rec', await readFile(modelPath(options, 'rec')), YAML);
  const rows: Row[] = [];
  for (let pass = 0; pass <= options.repeats; pass += 1) {
    const row = await onePass(options, { folder, freeBytes, log: join(scratch, `warm16-${pass}.log`) });
    rows.push({ ...row, pass, referencesOnDisk: pass > 0, counts: pass > 0 });
    note(`warm16: pass ${pass}: captured ${row.capturedSeconds} s, ready ${row.readySeconds} s`);
    if (pass > 0 && row.referencesComputed !== 0)
      throw new Error(`${row.referencesComputed} references were not on disk`);
  }
  const over = (field: string) => median(rows.filter((row) => row.counts === true).map((row) => Number(row[field])));
  const [capturedSeconds, readySeconds] = [over('capturedSeconds'), over('readySeconds')];
  return { rows, figures: { capturedSeconds, readySeconds, memoryMiB: over('memoryMiB') } };
}

async function onePass(
  { device, warm }: PartOptions,
  { folder, freeBytes, log }: { folder: BenchFolder; freeBytes: (() => number) | null; log: string },
): Promise<Row> {
  const shapes = SHAPES.slice(0, warm);
  await using server = await startRedis();
  // No plain session on the device: it would be counted as the lanes' memory.
  const env = { WARMLANE_COLD: 'cpu', WARMLANE_LOG_LEVEL: 'info' };
  await using system = await System.start({
    ...{ models: folder.models, redis: server.url, data: folder.data, device, env, log },
  });
  await untilTaken(system.url, 'rec', LIMIT_MS);
  const filesBefore = await referenceFiles(folder.data);
  const freeBefore = freeBytes?.() ?? 0;
  const { sentAt, acceptedAt } = await warmUp(system.url, { model: 'rec', shapes, limitMs: LIMIT_MS });
  const memory = freeBytes === null ? await bookedBytes(system.url) : freeBefore - freeBytes();
  const files = await referenceFiles(folder.data);
  const sums = await stepSums(system.url);
  const moves = (await WorkerLog.read(log)).moves(sentAt);
  const captures = captureSpans(moves);
  const readyAt = moves.filter(({ to }) => to === 'READY').map(({ time }) => time);
  if (captures.length !== shapes.length || readyAt.length !== shapes.length) {
    throw new Error(`${captures.length} captures and ${readyAt.length} READY, not ${shapes.length}; see the log`);
  }
  const lastCapture = Math.max(...captures.map((span) => span.until));
  return {
    part: 'warm16',
    lanes: shapes.length,
    from: 'the warm-up request was sent',
    capturedSeconds: round((lastCapture - sentAt) / 1_000, 3),
    readySeconds: round((Math.max(...readyAt) - sentAt) / 1_000, 3),
    acceptedMs: acceptedAt - sentAt,
    createMsSum: Math.round(sums.createMs),
    firstMsSum: Math.round(sums.firstMs),
    captureMsSum: Math.round(sums.captureMs),
    memoryMiB: round(memory / MIB, 1),
    memoryBy: freeBytes === null ? 'booked by the worker' : 'difference of what is free on the device',
    references: files.size,
    referencesComputed: writtenSince(filesBefore, files),
  };
}
