import { type ApiKey, parseApiKeys, parseSize } from '@warmlane/contracts';
import { LOG_LEVELS, type LogLevel } from '@warmlane/observability';
import { isLoopback, parseAddress } from '@warmlane/process';
import { CLASS_LIMIT, type ClassLimit } from '@warmlane/queues';
import { z } from 'zod';

/** Settings of the API process, parsed once at start. A class only so that it can be injected by its type. */
export abstract class ApiConfig {
  abstract readonly http: { host: string; port: number; loopback: boolean };
  abstract readonly redisUrl: string;
  /** Where tensor blobs lie; the same Redis unless set. */
  abstract readonly blobRedisUrl: string;
  abstract readonly keys: ApiKey[];
  abstract readonly logLevel: LogLevel;
  /** Descriptor of the pipe whose end says that the parent is gone; null when nobody supervises this process. */
  abstract readonly lifelineFd: number | null;
  /** Largest request body, also after it was unpacked, bytes. */
  abstract readonly bodyLimitBytes: number;
  /** Bytes of request bodies that may be in memory at once. */
  abstract readonly bodiesInFlightBytes: number;
  /** What may wait for one shape class before requests are refused with 503. */
  abstract readonly classLimit: ClassLimit;
  /** The tmpfs for large tensors, and this process's share of it in bytes; null: a quarter, 1 GiB at most; 0: none. */
  abstract readonly sharedMemory: { dir: string; limitBytes: number | null };
}

const size = (fallback: string) =>
  z
    .string()
    .regex(/^[0-9]+(KiB|MiB|GiB)$/, 'must be a size such as 64MiB')
    .default(fallback)
    .transform(parseSize);

const environmentSchema = z.object({
  WARMLANE_HTTP: z.string().default('127.0.0.1:8000'),
  WARMLANE_REDIS: z.string().default('redis://127.0.0.1:6379'),
  WARMLANE_BLOB_REDIS: z.string().optional(),
  WARMLANE_API_KEYS: z.string().default(''),
  WARMLANE_LOG_LEVEL: z.enum(LOG_LEVELS).default('info'),
  WARMLANE_LIFELINE_FD: z.coerce.number().int().min(3).optional(),
  WARMLANE_BODY_LIMIT: size('64MiB'),
  WARMLANE_BODIES_IN_FLIGHT: size('512MiB'),
  WARMLANE_CLASS_JOBS: z.coerce.number().int().min(1).max(1_000_000).default(CLASS_LIMIT.jobs),
  WARMLANE_CLASS_BYTES: size('512MiB'),
  WARMLANE_SHM_DIR: z.string().startsWith('/', 'must be an absolute path').default('/dev/shm'),
  WARMLANE_SHM_LIMIT: z
    .string()
    .regex(/^(0|[0-9]+(KiB|MiB|GiB))$/, 'must be a size such as 256MiB, or 0 for no shared memory')
    .transform((text) => (text === '0' ? 0 : parseSize(text)))
    .optional(),
});

/** A setting that cannot work; the message names the variable and what it should be. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** @throws ConfigError */
export function parseConfig(environment: Readonly<Record<string, string | undefined>>): ApiConfig {
  const result = environmentSchema.safeParse(withoutEmpty(environment));
  if (!result.success) {
    throw new ConfigError(result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '));
  }
  const env = result.data;
  const http = readAddress(env.WARMLANE_HTTP);
  const keys = readKeys(env.WARMLANE_API_KEYS);
  if (!http.loopback && keys.length === 0) {
    throw new ConfigError(
      `WARMLANE_HTTP: ${http.host} can be reached from other machines and there are no API keys. ` +
        'Set WARMLANE_API_KEYS (id:role:sha256-hex), or bind to 127.0.0.1.',
    );
  }
  if (env.WARMLANE_BODIES_IN_FLIGHT < env.WARMLANE_BODY_LIMIT) {
    throw new ConfigError(
      'WARMLANE_BODIES_IN_FLIGHT: must be at least WARMLANE_BODY_LIMIT, else no large body is ever taken',
    );
  }
  return {
    http,
    redisUrl: env.WARMLANE_REDIS,
    blobRedisUrl: env.WARMLANE_BLOB_REDIS ?? env.WARMLANE_REDIS,
    keys,
    logLevel: env.WARMLANE_LOG_LEVEL,
    lifelineFd: env.WARMLANE_LIFELINE_FD ?? null,
    bodyLimitBytes: env.WARMLANE_BODY_LIMIT,
    bodiesInFlightBytes: env.WARMLANE_BODIES_IN_FLIGHT,
    classLimit: { jobs: env.WARMLANE_CLASS_JOBS, bytes: env.WARMLANE_CLASS_BYTES },
    sharedMemory: { dir: env.WARMLANE_SHM_DIR, limitBytes: env.WARMLANE_SHM_LIMIT ?? null },
  };
}

/** A variable that is set to nothing counts as not set. */
function withoutEmpty(environment: Readonly<Record<string, string | undefined>>): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
}

function readKeys(text: string): ApiKey[] {
  try {
    return parseApiKeys(text);
  } catch (error) {
    throw new ConfigError(`WARMLANE_API_KEYS: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function readAddress(text: string): ApiConfig['http'] {
  const address = parseAddress(text);
  if (address === null) {
    throw new ConfigError(`WARMLANE_HTTP: '${text}' is not HOST:PORT, for example 127.0.0.1:8000 or [::1]:8000`);
  }
  return { ...address, loopback: isLoopback(address.host) };
}
