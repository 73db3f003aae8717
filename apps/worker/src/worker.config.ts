import { parseSize } from '@warmlane/contracts';
import { LOG_LEVELS } from '@warmlane/observability';
import { z } from 'zod';
import { DEFAULT_SERVING_OPTIONS } from './serving/serving.settings.js';

const text = z.string().trim().min(1);

/** Eleven candidates with ten shapes that take 5 s each, and their comparisons. */
const DEFAULT_TUNE_BUDGET_MS = 900_000;
/** An exhaustive search took 3.4 s for one shape; a slow model on the CPU takes 20 runs of seconds each. */
const DEFAULT_TUNE_CANDIDATE_MS = 120_000;

/** What serves a request that has no lane: whichever was measured faster, always the CPU, always the worker's device. */
const COLD_SERVERS = ['auto', 'cpu', 'device'] as const;

const environmentSchema = z.object({
  WARMLANE_REDIS: text,
  WARMLANE_BLOB_REDIS: text.optional(),
  WARMLANE_MODELS: text.default('./models'),
  WARMLANE_DATA: text.default('./.warmlane'),
  WARMLANE_DEVICE: z
    .string()
    .regex(
      /^(auto|cpu|cuda:[0-9]+|GPU-[0-9A-Fa-f-]+|MIG-[0-9A-Za-z/-]+)$/,
      'auto, cpu, cuda:N, GPU-<uuid> or MIG-<uuid>',
    )
    .default('auto'),
  WARMLANE_GPU_MEMORY: z
    .string()
    .regex(/^[0-9]+(KiB|MiB|GiB)$/, 'a size such as 20GiB')
    .transform(parseSize)
    .optional(),
  WARMLANE_RUN_LIMIT_MS: z.coerce.number().int().min(100).max(3_600_000).default(DEFAULT_SERVING_OPTIONS.laneLimitMs),
  WARMLANE_COLD: z.enum(COLD_SERVERS).default('auto'),
  WARMLANE_TUNE_BUDGET_MS: z.coerce.number().int().min(1_000).max(86_400_000).default(DEFAULT_TUNE_BUDGET_MS),
  WARMLANE_TUNE_CANDIDATE_MS: z.coerce.number().int().min(1_000).max(3_600_000).default(DEFAULT_TUNE_CANDIDATE_MS),
  WARMLANE_SHM_DIR: text.startsWith('/', 'an absolute path').default('/dev/shm'),
  WARMLANE_SHM_LIMIT: z
    .string()
    .regex(/^(0|[0-9]+(KiB|MiB|GiB))$/, 'a size such as 256MiB, or 0 for no shared memory')
    .transform((size) => (size === '0' ? 0 : parseSize(size)))
    .optional(),
  WARMLANE_LOG_LEVEL: z.enum(LOG_LEVELS).default('info'),
  WARMLANE_LIFELINE_FD: z.coerce.number().int().min(3).optional(),
  ORT_LIB_DIR: text.optional(),
});

/** What the environment says, read once in main. */
export interface WorkerConfig {
  redisUrl: string;
  blobRedisUrl: string;
  /** The model repository. */
  models: string;
  /** Where references and caches are kept. */
  data: string;
  device: string;
  /** Bytes for lanes; null: a share of what is free at start. */
  memoryBytes: number | null;
  /** A native run that takes longer costs the runtime its life, unless its lane is known to be slow. */
  runLimitMs: number;
  /** What serves requests without a lane. */
  cold: (typeof COLD_SERVERS)[number];
  /** All trials of one tuning of a model; what is left then is not tried. */
  tuneBudgetMs: number;
  /** One candidate with one shape; one that takes longer has timed out. */
  tuneCandidateMs: number;
  /** The tmpfs for large tensors, and how many bytes of it this worker and its runtime take each; null: a quarter, 1 GiB at most; 0: none. */
  sharedMemory: { dir: string; limitBytes: number | null };
  logLevel: (typeof LOG_LEVELS)[number];
  lifelineFd: number | null;
  ortLibDir: string | null;
  /** The whole environment, for the children: PATH, HOME, CUDA's own variables. */
  env: Readonly<Record<string, string | undefined>>;
}

export const WORKER_CONFIG = Symbol('WorkerConfig');

/** Throws an Error whose message names every wrong variable. An empty variable counts as absent. */
export function parseWorkerConfig(environment: NodeJS.ProcessEnv): WorkerConfig {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
  const parsed = environmentSchema.safeParse(given);
  if (!parsed.success) {
    throw new Error(`the environment of the worker is not usable:\n${z.prettifyError(parsed.error)}`);
  }
  const env = parsed.data;
  return {
    redisUrl: env.WARMLANE_REDIS,
    blobRedisUrl: env.WARMLANE_BLOB_REDIS ?? env.WARMLANE_REDIS,
    models: env.WARMLANE_MODELS,
    data: env.WARMLANE_DATA,
    device: env.WARMLANE_DEVICE,
    memoryBytes: env.WARMLANE_GPU_MEMORY ?? null,
    runLimitMs: env.WARMLANE_RUN_LIMIT_MS,
    cold: env.WARMLANE_COLD,
    tuneBudgetMs: env.WARMLANE_TUNE_BUDGET_MS,
    tuneCandidateMs: env.WARMLANE_TUNE_CANDIDATE_MS,
    sharedMemory: { dir: env.WARMLANE_SHM_DIR, limitBytes: env.WARMLANE_SHM_LIMIT ?? null },
    logLevel: env.WARMLANE_LOG_LEVEL,
    lifelineFd: env.WARMLANE_LIFELINE_FD ?? null,
    ortLibDir: env.ORT_LIB_DIR ?? null,
    env: environment,
  };
}
