import { createLogger } from '@warmlane/observability';
import { EXIT_CONFIG, watchLifeline } from '@warmlane/process';
import 'reflect-metadata';
import { type ApiConfig, ConfigError, parseConfig } from './config/api.config.js';
import { type RunningApi, startApi } from './lifecycle/start-api.js';

process.title = 'warmlane api';

/** However closing goes, the process is gone after this. */
const EXIT_LIMIT_MS = 6_000;

function readConfig(): ApiConfig {
  try {
    return parseConfig(process.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(EXIT_CONFIG);
  }
}

const config = readConfig();
const log = createLogger({ role: 'api', level: config.logLevel });
let api: RunningApi | null = null;
let stopping = false;

function stop(reason: string): void {
  if (stopping) return;
  stopping = true;
  log.info({ reason }, 'stopping');
  setTimeout(() => process.exit(0), EXIT_LIMIT_MS).unref();
  void (api?.close() ?? Promise.resolve()).finally(() => process.exit(0));
}

process.on('SIGTERM', () => stop('SIGTERM'));
process.on('SIGINT', () => stop('SIGINT'));
if (config.lifelineFd !== null) watchLifeline(config.lifelineFd, () => stop('the parent process is gone'));

try {
  api = await startApi(config, log);
  log.info({ url: api.url, loopback: config.http.loopback, keys: config.keys.length }, 'listening');
} catch (error) {
  log.fatal({ err: error }, 'the API could not start');
  process.exit(1);
}
