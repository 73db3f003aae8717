import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BenchFolder } from '../support/repository.js';
import { median, ROOT, type Row, round } from '../support/result.js';
import { startRedis } from '../support/system.js';
import type { PartOptions } from './part-options.js';
import { note } from './progress.js';
import { modelPath } from './stage.js';
import { referenceFiles, until, writtenSince } from './warm-ups.js';
import type { WarmTimes } from './warm16.js';
import { captureSpans, WorkerLog } from './worker-log.js';

const SHAPES = [160, 320].flatMap((width) => [1, 4].map((batch) => `x:float32[${batch},3,48,${width}]`));
const LIMIT_MS = 600_000;

/**
 * A worker that was stopped in order (SIGTERM) and is started again, with the same Redis and the same data folder: from the
 * spawn of its process to the 4th capture and to the 4th READY of the lanes that its model declares. The first start fills
 * the folder and does not count.
 */
export async function measureRestart4(options: PartOptions, scratch: string): Promise<WarmTimes> {
  await using server = await startRedis();
  await using folder = await BenchFolder.create();
  const yaml = `options: { cudnn_conv_algo_search: HEURISTIC }\ninputs: { x: { random: [-1, 1] } }\n`;
  const bytes = await readFile(modelPath(options, 'rec'));
  await folder.add('rec', bytes, `${yaml}shapes: ${JSON.stringify(SHAPES)}\n`);
  const rows: Row[] = [];
  for (let pass = 0; pass <= options.repeats; pass += 1) {
    const log = join(scratch, `restart4-${pass}.log`);
    const files = pass === 0 ? new Map<string, number>() : await referenceFiles(folder.data);
    const row = await oneStart(options, { folder, redis: server.url, log });
    const referencesComputed = writtenSince(files, await referenceFiles(folder.data));
    rows.push({ ...row, pass, referencesComputed, referencesOnDisk: pass > 0, counts: pass > 0 });
    note(`restart4: start ${pass}: captured ${row.capturedSeconds} s, ready ${row.readySeconds} s`);
    if (pass > 0 && referencesComputed !== 0) throw new Error(`${referencesComputed} references were not on disk`);
  }
  const over = (field: string) => median(rows.filter((row) => row.counts === true).map((row) => Number(row[field])));
  return { rows, figures: { capturedSeconds: over('capturedSeconds'), readySeconds: over('readySeconds') } };
}

async function oneStart(
  options: PartOptions,
  { folder, redis, log }: { folder: BenchFolder; redis: string; log: string },
): Promise<Row> {
  const spawnedAt = Date.now();
  const worker = startWorker(options, { folder, redis, log });
  try {
    const readyMoves = async () => (await WorkerLog.read(log)).moves().filter(({ to }) => to === 'READY');
    await until(`${SHAPES.length} lanes READY`, LIMIT_MS, async () => {
      if (worker.exitCode !== null)
        throw new Error(`the worker ended with ${worker.exitCode}: ${await readFile(log, 'utf8')}`);
      return (await readyMoves()).length >= SHAPES.length;
    });
    const captures = captureSpans((await WorkerLog.read(log)).moves());
    const captured = Math.max(...captures.map((span) => span.until));
    const ready = Math.max(...(await readyMoves()).map(({ time }) => time));
    return {
      part: 'restart4',
      lanes: captures.length,
      from: "spawn of the worker's process, after a stop in order",
      capturedSeconds: round((captured - spawnedAt) / 1_000, 3),
      readySeconds: round((ready - spawnedAt) / 1_000, 3),
      firstStepSeconds: round((Math.min(...captures.map((span) => span.from)) - spawnedAt) / 1_000, 3),
    };
  } finally {
    if (worker.exitCode === null && worker.signalCode === null) {
      worker.kill('SIGTERM');
      await once(worker, 'exit');
    }
  }
}

function startWorker(
  { device, libDir }: PartOptions,
  { folder, redis, log }: { folder: BenchFolder; redis: string; log: string },
): ChildProcess {
  const stderr = openSync(log, 'a');
  const worker = spawn(process.execPath, [join(ROOT, 'apps/worker/dist/main.js')], {
    stdio: ['ignore', 'ignore', stderr],
    env: {
      ...process.env,
      WARMLANE_REDIS: redis,
      WARMLANE_MODELS: folder.models,
      WARMLANE_DATA: folder.data,
      WARMLANE_DEVICE: device,
      WARMLANE_LOG_LEVEL: 'info',
      WARMLANE_COLD: 'cpu',
      ...(libDir === null ? {} : { ORT_LIB_DIR: libDir }),
    },
  });
  closeSync(stderr);
  return worker;
}
