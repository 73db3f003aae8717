import { accessSync, constants, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseApiKeys, parseSize } from '@warmlane/contracts';
import { LOG_LEVELS } from '@warmlane/observability';
import { type HttpAddress, isLoopback, parseAddress, SetupError } from '@warmlane/process';
import { z } from 'zod';

/** Each setting's environment name and, where it has one, its flag. A flag wins over the environment. */
const SETTINGS = {
  models: { env: 'WARMLANE_MODELS', flag: '--models' },
  http: { env: 'WARMLANE_HTTP', flag: '--http' },
  redis: { env: 'WARMLANE_REDIS', flag: '--redis' },
  blobRedis: { env: 'WARMLANE_BLOB_REDIS', flag: null },
  device: { env: 'WARMLANE_DEVICE', flag: '--device' },
  workers: { env: 'WARMLANE_WORKERS', flag: '--workers' },
  gpuMemory: { env: 'WARMLANE_GPU_MEMORY', flag: '--gpu-memory' },
  data: { env: 'WARMLANE_DATA', flag: null },
  apiKeys: { env: 'WARMLANE_API_KEYS', flag: null },
  ortLibDir: { env: 'ORT_LIB_DIR', flag: null },
  logLevel: { env: 'WARMLANE_LOG_LEVEL', flag: null },
} as const satisfies Record<string, { env: string; flag: string | null }>;

type SettingName = keyof typeof SETTINGS;

/** What the command line gave, by setting; undefined where it gave nothing. */
export type Flags = Partial<Record<SettingName, string>>;

const UUID = '[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}';
const DEVICE = new RegExp(`^(?:auto|cpu|cuda:\\d{1,3}|GPU-${UUID}|MIG-${UUID}|MIG-GPU-${UUID}/\\d+/\\d+)$`);
const MAX_WORKERS = 64;

const redisUrl = z
  .string()
  .refine((text) => URL.canParse(text) && /^rediss?:$/.test(new URL(text).protocol), 'is not a redis://HOST:PORT URL');

const schema = z.object({
  models: z.string().default('./models'),
  http: z
    .string()
    .default('127.0.0.1:8000')
    .transform((text, context): HttpAddress => {
      const address = parseAddress(text);
      if (address === null) {
        context.addIssue({ code: 'custom', message: 'is not HOST:PORT such as 127.0.0.1:8000 or [::1]:8000' });
        return z.NEVER;
      }
      return address;
    }),
  redis: redisUrl.optional(),
  blobRedis: redisUrl.optional(),
  device: z
    .string()
    .regex(DEVICE, 'is none of auto, cpu, cuda:N, GPU-<uuid>, MIG-<uuid> (`nvidia-smi -L` lists them)')
    .default('auto'),
  workers: z
    .string()
    .regex(/^\d{1,3}$/, `is not a number from 1 to ${MAX_WORKERS}`)
    .transform(Number)
    .refine((count) => count >= 1 && count <= MAX_WORKERS, `is not from 1 to ${MAX_WORKERS}`)
    .default(1),
  gpuMemory: z
    .string()
    .refine((text) => isSize(text), 'is not a size such as 20GiB')
    .optional(),
  data: z.string().default('./.warmlane'),
  apiKeys: z
    .string()
    .default('')
    .superRefine((text, context) => {
      try {
        parseApiKeys(text);
      } catch (error) {
        context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) });
      }
    }),
  ortLibDir: z.string().optional(),
  logLevel: z.enum(LOG_LEVELS, { error: `is none of ${LOG_LEVELS.join(', ')}` }).default('info'),
});

/** Everything a run was asked for, checked. Folders are absolute. */
export type Settings = z.infer<typeof schema>;

/**
 * Reads flags over environment, once, and checks values and how they go together.
 * @param cwd what relative folders are relative to
 * @throws SetupError with one line for each mistake, naming flag and variable
 */
export function readSettings(flags: Flags, env: NodeJS.ProcessEnv, cwd: string): Settings {
  const given: Record<string, string> = {};
  for (const name of Object.keys(SETTINGS) as SettingName[]) {
    const value = flags[name] ?? env[SETTINGS[name].env];
    // An empty variable is what `VAR= command` leaves: not set.
    if (value !== undefined && value !== '') {
      given[name] = value;
    }
  }
  const parsed = schema.safeParse(given);
  if (!parsed.success) {
    throw new SetupError(parsed.error.issues.map((issue) => describe(issue, given)).join('\n'));
  }
  const settings = parsed.data;
  settings.models = resolve(cwd, settings.models);
  settings.data = resolve(cwd, settings.data);
  settings.ortLibDir = settings.ortLibDir === undefined ? undefined : resolve(cwd, settings.ortLibDir);
  const mistakes = [...crossChecks(settings, given.models !== undefined)];
  if (mistakes.length > 0) {
    throw new SetupError(mistakes.join('\n'));
  }
  return settings;
}

function* crossChecks(settings: Settings, modelsGiven: boolean): Generator<string> {
  // The default folder is made at need; a named one that is not there is a slip of the pen.
  const noModels = modelsGiven ? whyNoFolder(settings.models) : null;
  if (noModels !== null) {
    yield `${title('models')} ${settings.models} ${noModels}: name the folder that holds <model>/<version>/model.onnx`;
  }
  if (!isLoopback(settings.http.host) && parseApiKeys(settings.apiKeys).length === 0) {
    yield `${title('http')} ${settings.http.host}: other machines could use it without a key. ` +
      `Set WARMLANE_API_KEYS=id:admin:$(printf %s KEY | sha256sum | cut -d' ' -f1), or listen on 127.0.0.1`;
  }
  if (settings.workers > 1 && settings.device !== 'cpu' && settings.device !== 'auto') {
    yield severalWorkersOnGpu(settings.workers, settings.device);
  }
  const noOrt = settings.ortLibDir === undefined ? null : whyNoFolder(settings.ortLibDir);
  if (noOrt !== null) {
    yield `${title('ortLibDir')} ${settings.ortLibDir} ${noOrt}: name the folder that holds libonnxruntime.so`;
  }
}

/** Why more than one worker is refused with a GPU, and what to do instead. */
export function severalWorkersOnGpu(workers: number, device: string): string {
  return (
    `${title('workers')} ${workers} with ${title('device')} ${device}: a GPU has one worker. ` +
    `Use --workers 1 and start one serve or worker for each GPU, or --device cpu`
  );
}

function describe(issue: z.core.$ZodIssue, given: Record<string, string>): string {
  const name = issue.path[0] as SettingName;
  // A key list is never shown: somebody may have put the key itself there.
  const value = name === 'apiKeys' ? '' : ` '${hidePassword(given[name] ?? '')}'`;
  return `${title(name)}${value} ${issue.message}`;
}

/** A Redis URL without its password, for messages. */
export function hidePassword(text: string): string {
  return text.replace(/^([a-z]+:\/\/[^:@/]*):[^@/]*@/, '$1:***@');
}

function title(name: SettingName): string {
  const { env, flag } = SETTINGS[name];
  return flag === null ? env : `${flag} (${env})`;
}

function isSize(text: string): boolean {
  try {
    return parseSize(text) > 0;
  } catch {
    return false;
  }
}

/** Why a folder cannot be read, as the end of a sentence; null where it can. */
function whyNoFolder(path: string): string | null {
  try {
    if (!statSync(path).isDirectory()) {
      return 'is a file, not a folder';
    }
    accessSync(path, constants.R_OK | constants.X_OK);
    return null;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    return code === 'ENOENT' ? 'does not exist' : `is not a folder that can be read (${code})`;
  }
}
