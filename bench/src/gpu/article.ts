import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { percentile } from '@warmlane/lanes';
import { conv1dStack, float16ConvStack } from './article-models.js';
import { cpuReference, modelPath, openLane, openPlain, randomInputs, type Stage, worstError } from './stage.js';

/** One setting of the advice of 2024 on warming onnxruntime-gpu, measured. */
export interface ArticleRow {
  part: 'article';
  model: string;
  shapeKey: string;
  options: Record<string, string | number>;
  /** `host`: ONNX Runtime copies in and out; `device`: bound device buffers without a graph. */
  binding: 'host' | 'device';
  firstMs: number;
  steadyP50Ms: number;
  error: number;
  /** Why there is no figure. */
  refused: string;
}

const RUNS = 50;

const SETTINGS: Record<string, string | number>[] = [
  ...['EXHAUSTIVE', 'HEURISTIC', 'DEFAULT'].map((search) => ({ cudnn_conv_algo_search: search })),
  { cudnn_conv_use_max_workspace: 0 },
  { cudnn_conv_use_max_workspace: 1 },
  { cudnn_conv1d_pad_to_nc1d: 0 },
  { cudnn_conv1d_pad_to_nc1d: 1 },
];

export async function measureArticle(stage: Stage, scratch: string): Promise<ArticleRow[]> {
  const conv1d = join(scratch, 'conv1d.onnx');
  const half = join(scratch, 'float16.onnx');
  writeFileSync(conv1d, conv1dStack());
  writeFileSync(half, float16ConvStack());
  const cases = [
    { model: 'conv1d_stack', path: conv1d, shapeKey: 'x:float32[4,64,4000]' },
    { model: 'float16_conv_stack', path: half, shapeKey: 'x:float32[2,64,160,160]' },
    { model: 'rec', path: modelPath(stage, 'rec'), shapeKey: 'x:float32[4,3,48,320]' },
  ];
  const rows: ArticleRow[] = [];
  for (const { model, path, shapeKey } of cases) {
    const inputs = randomInputs(shapeKey, 3);
    const reference = await cpuReference(stage, path, new Map([[shapeKey, inputs]]));
    const expected = reference.outputs.get(shapeKey) ?? [];
    for (const options of SETTINGS) {
      for (const binding of ['host', 'device'] as const) {
        const row = { part: 'article' as const, model, shapeKey, options, binding };
        try {
          const session =
            binding === 'host'
              ? await openPlain(stage, path, options)
              : await openLane(stage, path, shapeKey, { ...options, enable_cuda_graph: 0 });
          try {
            const start = performance.now();
            const { outputs } = session.run(inputs);
            const firstMs = performance.now() - start;
            const runsMs = Array.from({ length: RUNS }, () => {
              const from = performance.now();
              session.run(inputs);
              return performance.now() - from;
            });
            const error = worstError(reference.metadata, outputs, expected);
            rows.push({ ...row, firstMs, steadyP50Ms: percentile(runsMs, 0.5), error, refused: '' });
          } finally {
            session.close();
          }
        } catch (error) {
          rows.push({
            ...row,
            firstMs: 0,
            steadyP50Ms: 0,
            error: 0,
            refused: error instanceof Error ? error.message : String(error),
          });
        }
      }
    }
  }
  return rows;
}
