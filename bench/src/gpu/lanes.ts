import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listGpus, nvidiaDriverVersion, OrtRuntime } from '@warmlane/ort';
import { z } from 'zod';
import { measureArticle } from './article.js';
import { measureBesideTraffic } from './beside-traffic.js';
import { measureEndToEnd } from './end-to-end.js';
import { measureFirstRuns } from './first-runs.js';
import { measureFloor } from './floor.js';
import { type MixedRow, measureMixed, mixedRatios } from './mixed.js';
import { type PartOptions, readCommandLine } from './part-options.js';
import { note } from './progress.js';
import { measureRestart4 } from './restart4.js';
import { measureSharedWeights } from './shared-weights.js';
import { modelPath, openStage, SHAPES, type Stage } from './stage.js';
import { measureTuner } from './tuner.js';
import { measureTwins } from './twins.js';
import { measureWarm16 } from './warm16.js';
import { measureWorkspace } from './workspace.js';

/** Name of a part's rows where it is not the part's own. */
const ROWS_OF: Record<string, string> = { weights: 'sharedWeights' };

/** Of a worker's log, where a part failed. */
const LOG_LINES = 15;

const beforeSchema = z.object({
  rows: z.array(z.looseObject({ part: z.string() })),
  figures: z.record(z.string(), z.unknown()),
  parts: z.record(z.string(), z.unknown()).default({}),
});

/** What the file holds already; nothing where there is none. */
function readBefore(out: string): z.infer<typeof beforeSchema> {
  if (!existsSync(out)) return { rows: [], figures: {}, parts: {} };
  return beforeSchema.parse(JSON.parse(readFileSync(out, 'utf8')));
}

/** The ends of the logs that parts left: the folder is gone afterwards. */
function noteLogs(scratch: string): void {
  for (const file of readdirSync(scratch).filter((name) => name.endsWith('.log'))) {
    const lines = readFileSync(join(scratch, file), 'utf8').trimEnd().split('\n');
    note(`the end of ${file}:\n${lines.slice(-LOG_LINES).join('\n')}`);
  }
}

/** What a part adds to the file. Saved after each part, and inside one wherever something is complete. */
interface Result {
  rows: unknown[];
  figures: Record<string, unknown>;
}

interface Context {
  options: PartOptions;
  /** Library and device in this process; throws where there is no CUDA. */
  stage: () => Stage;
  scratch: string;
  /** Free on the device; null on the CPU. */
  freeBytes: (() => number) | null;
  result: Result;
  save: () => void;
}

const PARTS: Record<string, (context: Context) => Promise<void>> = {
  floor: async ({ stage, result }) => {
    const floor = await measureFloor(stage());
    result.rows.push(...floor);
    result.figures.overFloor = Object.fromEntries(floor.map((row) => [row.what, row.ratio]));
  },
  mixed: async ({ stage, result: { rows, figures }, save }) => {
    const mixed: MixedRow[] = [];
    for (const model of ['rec', 'det'] as const) {
      mixed.push(...(await measureMixed(stage(), model)));
      const ratios = mixedRatios(mixed, model);
      figures.mixedP99Ratio = { ...(figures.mixedP99Ratio as object | undefined), [model]: ratios.p99 };
      figures.mixedP50Ratio = { ...(figures.mixedP50Ratio as object | undefined), [model]: ratios.p50 };
      rows.push(...mixed.filter((row) => row.model === model));
      save();
    }
  },
  weights: async ({ options, result }) => {
    // 8 layers of 64 MiB, in processes of their own on the same device.
    const { rows, ratio, ratioAfterFirst, difference } = await measureSharedWeights({
      provider: 'cuda',
      visible: listGpus()[0]?.uuid ?? '0',
      libDir: options.libDir,
      stack: { kind: 'matmul', layers: 8, width: 4096, seed: 1 },
      lanes: 8,
    });
    result.rows.push(...rows);
    result.figures.sharedWeights = { ratio, ratioAfterFirst, difference };
  },
  tuner: async ({ stage, options, result }) => {
    const range = { rec: [-1, 1], det: [-40, 40] } as const;
    const batchOne = SHAPES.det.filter((shape) => shape.startsWith('x:float32[1,'));
    const models = (
      [
        ['rec', SHAPES.rec],
        ['det', batchOne],
      ] as const
    ).map(([name, shapes]) => ({
      ...{ name, path: modelPath(options, name) },
      shapes: shapes.filter((_, at) => at % options.tuneEvery === 0),
      range: [...range[name]] as [number, number],
    }));
    const { runtime, cuda } = stage();
    const { device, libDir } = options;
    const tuned = await measureTuner({ provider: 'cuda', device, libDir, models, runtime, cuda });
    result.rows.push(...tuned.rows);
    const { worstGap, wrongChosen, seconds } = tuned;
    result.figures.tuner = { worstGap, wrongChosen, seconds, shapes: models.flatMap(({ shapes }) => shapes).length };
  },
  article: async ({ stage, scratch, result }) => {
    result.rows.push(...(await measureArticle(stage(), scratch)));
  },
  twins: async ({ stage, result }) => {
    result.rows.push(...(await measureTwins(stage())));
  },
  firstRuns: async ({ result }) => {
    result.rows.push(...(await measureFirstRuns()));
  },
  workspace: async ({ result }) => {
    result.rows.push(...(await measureWorkspace()));
  },
  endToEnd: async ({ options, scratch, result }) => {
    const { rows, figures } = await measureEndToEnd(options, scratch);
    result.rows.push(...rows);
    result.figures.endToEnd = figures;
  },
  warm16: async ({ options, scratch, freeBytes, result }) => {
    const { rows, figures } = await measureWarm16(options, scratch, freeBytes);
    result.rows.push(...rows);
    result.figures.warm16 = figures;
  },
  restart4: async ({ options, scratch, result }) => {
    const { rows, figures } = await measureRestart4(options, scratch);
    result.rows.push(...rows);
    result.figures.restart4 = figures;
  },
  besideTraffic: async ({ options, scratch, result }) => {
    const { rows, figures } = await measureBesideTraffic(options, scratch);
    result.rows.push(...rows);
    result.figures.besideTraffic = figures;
  },
};

/**
 * The figures of lanes on a GPU. Parts by name: `node bench/dist/gpu/lanes.js OUT.json mixed floor weights article tuner workspace
 * twins firstRuns endToEnd warm16 restart4 besideTraffic`. Needs ORT_LIB_DIR and MODELS_DIR (rec.onnx, det.onnx). Rows and figures of the parts that
 * it runs take the place of those that OUT.json has of them; all else there stays. A part that fails leaves what the file
 * had of it and costs no other one: the exit code is 1 then. `--provider cpu` rehearses the last four without a GPU.
 */
async function main(): Promise<void> {
  const { out, parts, options } = readCommandLine(process.argv.slice(2), process.env);
  const unknown = parts.filter((part) => PARTS[part] === undefined);
  if (unknown.length > 0) throw new Error(`no part ${unknown.join(', ')}; there are ${Object.keys(PARTS).join(', ')}`);
  const { libDir, modelsDir } = options;
  const stage: Stage | null = options.provider === 'cpu' || libDir === null ? null : openStage({ libDir, modelsDir });
  const scratch = mkdtempSync(join(tmpdir(), 'warmlane-bench-'));
  let saved = readBefore(out);
  const { COMMIT: commit = 'unknown' } = process.env;
  const write = (part: string, result: Result): void => {
    const versions = {
      ort: OrtRuntime.load(libDir === null ? {} : { libDir }).version,
      ...stage?.cuda.versions(),
      nvidiaDriver: stage === null ? null : nvidiaDriverVersion(),
      node: process.version,
    };
    const device = stage === null ? 'cpu' : (listGpus()[0]?.name ?? 'unknown');
    const date = new Date().toISOString();
    // Parts may be of different runs: each says of which.
    const parts = { ...saved.parts, [part]: { device, driver: versions.nvidiaDriver ?? null, commit, date } };
    const body = { name: 'lanes', device, versions, commit, date, parts, ...result };
    writeFileSync(out, `${JSON.stringify(body, null, 1)}\n`);
  };
  try {
    for (const [part, measure] of Object.entries(PARTS)) {
      if (!parts.includes(part)) continue;
      note(`${part} begins`);
      const rows: unknown[] = saved.rows.filter((row) => row.part !== (ROWS_OF[part] ?? part));
      const result: Result = { rows, figures: { ...saved.figures } };
      try {
        await measure({
          ...{ options, scratch, result },
          freeBytes: stage === null ? null : () => stage.cuda.memory().free,
          stage: () => {
            if (stage === null) throw new Error(`part ${part} needs a GPU`);
            return stage;
          },
          save: () => write(part, result),
        });
        write(part, result);
        saved = readBefore(out);
        note(`${part} is saved`);
      } catch (error) {
        note(`${part} FAILED: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
        noteLogs(scratch);
        process.exitCode = 1;
        saved = readBefore(out);
      }
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  process.stdout.write(`${JSON.stringify(saved.figures)}\n`);
}

await main();
