import { createLogger } from '@warmlane/observability';
import { EXIT_CONFIG, watchLifeline } from '@warmlane/process';
import 'reflect-metadata';
import { type ApiConfig, ConfigError, parseConfig } from './config/api.config.js';
import { type RunningApi, startApi } from './lifecycle/start-api.js';

process.title = 'warmlane api';

/** For requests in flight: `serve` gives the API 15 s of its 20 s. */
const GRACE_MS = 12_000;
/** Without a parent the workers are gone as well. */
const ORPHAN_GRACE_MS = 2_000;
/** However closing goes, the process is gone so much after its grace. */
const EXIT_AFTER_MS = 2_500;

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

function stop(reason: string, graceMs: number): void {
  if (stopping) return;
  stopping = true;
  log.info({ reason }, 'stopping');
  setTimeout(() => process.exit(0), graceMs + EXIT_AFTER_MS).unref();
  void (api?.close(graceMs) ?? Promise.resolve()).finally(() => process.exit(0));
}

process.on('SIGTERM', () => stop('SIGTERM', GRACE_MS));
process.on('SIGINT', () => stop('SIGINT', GRACE_MS));
if (config.lifelineFd !== null)
  watchLifeline(config.lifelineFd, () => stop('the parent process is gone', ORPHAN_GRACE_MS));

try {
  api = await startApi(config, log);
  log.info({ url: api.url, loopback: config.http.loopback, keys: config.keys.length }, 'listening');
} catch (error) {
  log.fatal({ err: error }, 'the API could not start');
  process.exit(1);
}
