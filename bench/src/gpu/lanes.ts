import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listGpus, nvidiaDriverVersion } from '@warmlane/ort';
import { z } from 'zod';
import { measureArticle } from './article.js';
import { measureFloor } from './floor.js';
import { type MixedRow, measureMixed, mixedRatios } from './mixed.js';
import { measureSharedWeights } from './shared-weights.js';
import { modelPath, openStage, SHAPES } from './stage.js';
import { measureTuner } from './tuner.js';

/** Name of a part's rows where it is not the part's own. */
const ROWS_OF: Record<string, string> = { weights: 'sharedWeights' };

const beforeSchema = z.object({
  rows: z.array(z.looseObject({ part: z.string() })),
  figures: z.record(z.string(), z.unknown()),
});

/** What the file holds already; nothing where there is none. */
function readBefore(out: string): z.infer<typeof beforeSchema> {
  if (!existsSync(out)) return { rows: [], figures: {} };
  return beforeSchema.parse(JSON.parse(readFileSync(out, 'utf8')));
}

/**
 * The figures of lanes on a GPU. Parts by name: `node bench/dist/gpu/lanes.js OUT.json mixed floor weights article tuner`. Needs
 * ORT_LIB_DIR and MODELS_DIR (rec.onnx, det.onnx). Rows and figures of the
 * parts that it runs take the place of those that OUT.json has of them; all else there stays.
 */
async function main(): Promise<void> {
  const [out, ...parts] = process.argv.slice(2);
  const { ORT_LIB_DIR: libDir, MODELS_DIR: modelsDir, COMMIT: commit = 'unknown' } = process.env;
  if (out === undefined || libDir === undefined || modelsDir === undefined) {
    throw new Error(
      'usage: ORT_LIB_DIR=... MODELS_DIR=... node bench/dist/gpu/lanes.js OUT.json [mixed] [floor] [weights] [article] [tuner]',
    );
  }
  const stage = openStage({ libDir, modelsDir });
  const scratch = mkdtempSync(join(tmpdir(), 'warmlane-bench-'));
  const before = readBefore(out);
  const replaced = new Set(parts.map((part) => ROWS_OF[part] ?? part));
  const rows: unknown[] = before.rows.filter((row) => !replaced.has(row.part));
  const figures: Record<string, unknown> = { ...before.figures };
  const save = () => {
    const versions = {
      ort: stage.runtime.version,
      ...stage.cuda.versions(),
      nvidiaDriver: nvidiaDriverVersion(),
      node: process.version,
    };
    const device = listGpus()[0]?.name ?? 'unknown';
    const body = { name: 'lanes', device, versions, commit, date: new Date().toISOString(), rows, figures };
    writeFileSync(out, `${JSON.stringify(body, null, 1)}\n`);
  };
  try {
    if (parts.includes('floor')) {
      const floor = await measureFloor(stage);
      rows.push(...floor);
      figures.overFloor = Object.fromEntries(floor.map((row) => [row.what, row.ratio]));
      save();
    }
    if (parts.includes('mixed')) {
      const mixed: MixedRow[] = [];
      for (const model of ['rec', 'det'] as const) {
        mixed.push(...(await measureMixed(stage, model)));
        const ratios = mixedRatios(mixed, model);
        figures.mixedP99Ratio = { ...(figures.mixedP99Ratio as object | undefined), [model]: ratios.p99 };
        figures.mixedP50Ratio = { ...(figures.mixedP50Ratio as object | undefined), [model]: ratios.p50 };
        rows.push(...mixed.filter((row) => row.model === model));
        save();
      }
    }
    if (parts.includes('weights')) {
      // 8 layers of 64 MiB, in processes of their own on the same device.
      const weights = await measureSharedWeights({
        provider: 'cuda',
        visible: listGpus()[0]?.uuid ?? '0',
        libDir,
        stack: { kind: 'matmul', layers: 8, width: 4096, seed: 1 },
        lanes: 8,
      });
      rows.push(...weights.rows);
      figures.sharedWeights = {
        ratio: weights.ratio,
        ratioAfterFirst: weights.ratioAfterFirst,
        difference: weights.difference,
      };
      save();
    }
    if (parts.includes('tuner')) {
      const range = { rec: [-1, 1], det: [-40, 40] } as const;
      const batchOne = SHAPES.det.filter((shape) => shape.startsWith('x:float32[1,'));
      const models = (
        [
          ['rec', SHAPES.rec],
          ['det', batchOne],
        ] as const
      ).map(([name, shapes]) => ({
        ...{ name, shapes, path: modelPath(stage, name) },
        range: [...range[name]] as [number, number],
      }));
      const { runtime, cuda } = stage;
      const tuned = await measureTuner({ provider: 'cuda', device: 'cuda:0', libDir, models, runtime, cuda });
      rows.push(...tuned.rows);
      const { worstGap, wrongChosen, seconds } = tuned;
      figures.tuner = { worstGap, wrongChosen, seconds };
      save();
    }
    if (parts.includes('article')) {
      rows.push(...(await measureArticle(stage, scratch)));
      save();
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  process.stdout.write(`${JSON.stringify(figures)}\n`);
}

await main();
