import type { ProviderOption } from './provider-option.js';
import { CPU_OPTIONS, CUDA_OPTIONS } from './provider-option-table-providers.js';
import { RUN_OPTIONS, SESSION_OPTIONS } from './provider-option-table-session.js';

/**
 * THE provider-option table: every option that may be given to ONNX Runtime through Warmlane, and the known ones that may
 * not. ONNX Runtime itself takes an unknown session or run key in silence, so a key that is not here is refused.
 */
export const PROVIDER_OPTIONS: readonly ProviderOption[] = [
  ...CPU_OPTIONS,
  ...CUDA_OPTIONS,
  ...SESSION_OPTIONS,
  ...RUN_OPTIONS,
];
