import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { WarmlaneError } from '@warmlane/contracts';
import { createLogger, type Logger, StallMonitor } from '@warmlane/observability';
import { dieWithLifeline, EXIT_CONFIG } from '@warmlane/process';
import { resolveDevice } from './children/device.js';
import { parseWorkerConfig, type WorkerConfig } from './worker.config.js';
import { workerModule } from './worker.module.js';
import { WorkerService } from './worker.service.js';

process.title = 'warmlane worker';

/** BullMQ's locks suffer from about 1 s; half of it is worth a line. */
const STALL_MS = 500;
const STALL_LOOK_MS = 100;
/** Codes of refusals that another start does not cure. */
const HOPELESS: ReadonlySet<string> = new Set(['bad-request', 'not-supported']);

function readConfig(): WorkerConfig {
  try {
    return parseWorkerConfig(process.env);
  } catch (thrown) {
    process.stderr.write(`${thrown instanceof Error ? thrown.message : String(thrown)}\n`);
    process.exit(EXIT_CONFIG);
  }
}

async function main(): Promise<void> {
  const config = readConfig();
  if (config.lifelineFd !== null) dieWithLifeline(config.lifelineFd);
  const logger = createLogger({ role: 'worker', level: config.logLevel });
  try {
    await run(config, logger);
  } catch (thrown) {
    const { code, message, hint } = WarmlaneError.from(thrown);
    logger.fatal({ err: thrown, code, hint }, `the worker cannot start: ${message}`);
    process.exit(HOPELESS.has(code) ? EXIT_CONFIG : 1);
  }
}

async function run(config: WorkerConfig, logger: Logger): Promise<void> {
  const device = await resolveDevice(config.device);
  const monitor = new StallMonitor({ thresholdMs: STALL_MS, intervalMs: STALL_LOOK_MS, log: logger });
  const app = await NestFactory.createApplicationContext(workerModule({ config, device, logger, monitor }), {
    logger: false,
    abortOnError: false,
  });
  const worker = app.get(WorkerService);
  monitor.start();
  const end = (code: number): void => {
    logger.info({ code }, 'the worker ends');
    void worker.close().finally(() => process.exit(code));
  };
  process.on('SIGTERM', () => end(0));
  process.on('SIGINT', () => end(0));
  await worker.start(end);
}

await main();
