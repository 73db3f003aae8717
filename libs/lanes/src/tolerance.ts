import type { DType, ModelConfig } from '@warmlane/contracts';

/** What the default tolerance depends on. `tf32`: the CUDA provider may use it (its default). */
export interface Precision {
  provider: 'cpu' | 'cuda';
  tf32: boolean;
}

/** Largest relative L2 error of an output; 0 for integers, bools and strings, which must be equal. */
export function defaultTolerance(dtype: DType, precision: Precision): number {
  switch (dtype) {
    case 'float64':
      return 1e-6;
    case 'float32':
      return precision.provider === 'cpu' ? 1e-4 : precision.tf32 ? 5e-2 : 1e-3;
    case 'float16':
    case 'bfloat16':
      return 2e-2;
    case 'bool':
    case 'string':
    case 'int8':
    case 'int16':
    case 'int32':
    case 'int64':
    case 'uint8':
    case 'uint16':
    case 'uint32':
    case 'uint64':
      return 0;
  }
}

/** Tolerance of one output of a lane. Half-precision inputs make a float32 output no better than they are. */
export function toleranceOf(
  output: DType,
  inputs: readonly DType[],
  config: Pick<ModelConfig, 'tolerance'>,
  precision: Precision,
): number {
  const own = defaultTolerance(output, precision);
  if (own === 0) return 0;
  if (config.tolerance !== undefined) return config.tolerance.relative;
  const half = inputs.some((dtype) => dtype === 'float16' || dtype === 'bfloat16');
  return half ? Math.max(own, defaultTolerance('float16', precision)) : own;
}
