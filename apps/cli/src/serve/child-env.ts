import { type HttpAddress, printAddress } from '@warmlane/process';
import type { Settings } from '../config/settings.schema.js';

export interface ChildEnvInput {
  settings: Settings;
  /** The address that the API listens on, its port settled. */
  http: HttpAddress;
  redisUrl: string;
}

/** What our apps read, over what this process got (PATH, HOME, CUDA's own variables). All values settled and checked. */
export function childEnv(base: NodeJS.ProcessEnv, input: ChildEnvInput): NodeJS.ProcessEnv {
  const { settings } = input;
  return {
    ...base,
    WARMLANE_HTTP: printAddress(input.http),
    WARMLANE_REDIS: input.redisUrl,
    WARMLANE_BLOB_REDIS: settings.blobRedis ?? input.redisUrl,
    WARMLANE_MODELS: settings.models,
    WARMLANE_DATA: settings.data,
    WARMLANE_DEVICE: settings.device,
    WARMLANE_GPU_MEMORY: settings.gpuMemory,
    WARMLANE_API_KEYS: settings.apiKeys,
    ORT_LIB_DIR: settings.ortLibDir,
    WARMLANE_LOG_LEVEL: settings.logLevel,
  };
}
