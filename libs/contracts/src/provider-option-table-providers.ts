import type { ProviderOption } from './provider-option.js';

const CUDA_PAGE = 'https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html';
const CUDA_HEADER = 'core/providers/cuda/cuda_provider_options.h';
const CPU_HEADER = 'core/providers/cpu/cpu_provider_factory.h';

const OWN_STREAM = 'Warmlane leaves the stream to ONNX Runtime: with a stream of ours the capture of a graph fails.';
const OWN_MEMORY = 'Warmlane leaves device memory to the arena of ONNX Runtime; bound it with gpu_mem_limit.';
const TUNABLE = 'TunableOp is not supported; the algorithm search of convolutions is cudnn_conv_algo_search.';

const bool = { kind: 'bool' } as const;

export const CPU_OPTIONS: readonly ProviderOption[] = [
  {
    key: 'use_arena',
    scope: 'cpu',
    type: bool,
    default: '1',
    since: '1.0',
    about: 'Whether the CPU provider keeps freed memory in an arena. 0: less memory held, slower runs.',
    source: CPU_HEADER,
  },
];

export const CUDA_OPTIONS: readonly ProviderOption[] = [
  {
    key: 'device_id',
    scope: 'cuda',
    type: { kind: 'int', min: 0, max: 1024 },
    default: '0',
    since: '1.0',
    about: 'The device, by the number of CUDA.',
    source: CUDA_PAGE,
    refused: "The device is the worker's: choose it with --device.",
  },
  {
    key: 'cudnn_conv_algo_search',
    scope: 'cuda',
    type: { kind: 'enum', values: ['EXHAUSTIVE', 'HEURISTIC', 'DEFAULT'] },
    default: 'EXHAUSTIVE',
    since: '1.2',
    about:
      'How the plan of a convolution is found. Since 1.20: EXHAUSTIVE is heuristic mode B of cuDNN, HEURISTIC mode A, DEFAULT the fallback plan. Which is fastest depends on card, model and shape: measure.',
    source: CUDA_PAGE,
  },
  {
    key: 'cudnn_conv_use_max_workspace',
    scope: 'cuda',
    type: bool,
    default: '1',
    since: '1.11',
    about:
      'Whether the search may use as much scratch memory as it likes (1) or 32 MB (0). More memory, more algorithms to choose from; said to matter for float16. Default 0 before 1.14.',
    source: CUDA_PAGE,
  },
  {
    key: 'cudnn_conv1d_pad_to_nc1d',
    scope: 'cuda',
    type: bool,
    default: '0',
    since: '1.12',
    about: 'How the input [N,C,D] of a 1-d convolution becomes 2-d: 0 to [N,C,D,1], 1 to [N,C,1,D]. Try both.',
    source: CUDA_PAGE,
  },
  {
    key: 'use_tf32',
    scope: 'cuda',
    type: bool,
    default: '1',
    since: '1.18',
    about: 'TF32 for float32 matrix products and convolutions: faster, with 10 bits of mantissa instead of 23.',
    source: CUDA_PAGE,
  },
  {
    key: 'prefer_nhwc',
    scope: 'cuda',
    type: bool,
    default: '0',
    since: '1.17',
    about: 'Convolutions in NHWC layout. May refuse the capture of a graph.',
    source: CUDA_PAGE,
  },
  {
    key: 'fuse_conv_bias',
    scope: 'cuda',
    type: bool,
    default: '0',
    since: '1.20',
    about:
      'Convolution and bias in one kernel compiled at first use. Seen to give NaN on 1.29: only with verification.',
    source: CUDA_HEADER,
  },
  {
    key: 'enable_cuda_graph',
    scope: 'cuda',
    type: bool,
    default: '0',
    since: '1.11',
    about: 'Capture the run as a CUDA graph and replay it. A lane has 1 unless told otherwise.',
    source: CUDA_PAGE,
  },
  {
    key: 'gpu_mem_limit',
    scope: 'cuda',
    type: { kind: 'bytes', min: 1 },
    default: '18446744073709551615',
    since: '1.8',
    about: 'Most bytes of the arena of one session. Workspaces outside the arena do not count.',
    source: CUDA_PAGE,
  },
  {
    key: 'arena_extend_strategy',
    scope: 'cuda',
    type: { kind: 'enum', values: ['kNextPowerOfTwo', 'kSameAsRequested'] },
    default: 'kNextPowerOfTwo',
    since: '1.7',
    about: 'How the arena grows: by powers of two (fewer extensions) or by what is asked for (less memory).',
    source: CUDA_PAGE,
  },
  {
    key: 'do_copy_in_default_stream',
    scope: 'cuda',
    type: bool,
    default: '1',
    since: '1.7',
    about: 'Copies on the stream of the kernels. 0 may race.',
    source: CUDA_PAGE,
  },
  {
    key: 'sdpa_kernel',
    scope: 'cuda',
    type: { kind: 'int', min: 0, max: 511 },
    default: '0',
    since: '1.20',
    about:
      'Attention kernels, a sum of 1 flash, 2 memory-efficient, 4 TensorRT fused, 8 cuDNN flash, 16 math, 32 to 128 TensorRT variants, 256 lean. 0 lets ONNX Runtime choose.',
    source: CUDA_HEADER,
  },
  {
    key: 'use_ep_level_unified_stream',
    scope: 'cuda',
    type: bool,
    default: '0',
    since: '1.17',
    about: 'One stream for the whole provider instead of one per thread.',
    source: CUDA_HEADER,
  },
  {
    key: 'enable_skip_layer_norm_strict_mode',
    scope: 'cuda',
    type: bool,
    default: '0',
    since: '1.15',
    about: 'SkipLayerNormalization in higher precision. Newer versions take it and do so anyway.',
    source: CUDA_HEADER,
  },
  {
    key: 'enable_cudnn',
    scope: 'cuda',
    type: bool,
    default: '1',
    since: '1.28',
    about: 'Whether cuDNN is used. 0: only kernels that need none, all else fails.',
    source: CUDA_HEADER,
    refused: 'The options struct of the C API has no field for it: it would be dropped without a word.',
  },
  {
    key: 'has_user_compute_stream',
    scope: 'cuda',
    type: bool,
    default: '0',
    since: '1.8',
    about: 'Whether user_compute_stream is given.',
    source: CUDA_HEADER,
    refused: OWN_STREAM,
  },
  {
    key: 'user_compute_stream',
    scope: 'cuda',
    type: { kind: 'text', pattern: /^[0-9]+$/, form: 'an address' },
    default: '',
    since: '1.8',
    about: 'The stream to run on.',
    source: CUDA_PAGE,
    refused: OWN_STREAM,
  },
  ...['gpu_external_alloc', 'gpu_external_free', 'gpu_external_empty_cache'].map(
    (key): ProviderOption => ({
      key,
      scope: 'cuda',
      type: { kind: 'text', pattern: /^[0-9]+$/, form: 'an address' },
      default: '0',
      since: '1.8',
      about: 'An allocator of another library, by address.',
      source: CUDA_PAGE,
      refused: OWN_MEMORY,
    }),
  ),
  ...['tunable_op_enable', 'tunable_op_tuning_enable'].map(
    (key): ProviderOption => ({
      key,
      scope: 'cuda',
      type: bool,
      default: '0',
      since: '1.15',
      about: 'Kernels chosen by trying them.',
      source: CUDA_PAGE,
      refused: TUNABLE,
    }),
  ),
  {
    key: 'tunable_op_max_tuning_duration_ms',
    scope: 'cuda',
    type: { kind: 'int', min: 0, max: 3_600_000 },
    default: '0',
    since: '1.16',
    about: 'Most milliseconds that the choice of one kernel may take.',
    source: CUDA_PAGE,
    refused: TUNABLE,
  },
];
