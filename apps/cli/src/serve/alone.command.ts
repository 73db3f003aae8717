import { SetupError } from '@warmlane/process';
import type { Command } from 'commander';
import { type Flags, readSettings } from '../config/settings.schema.js';
import { appMain } from '../project-paths.js';
import { STDERR, startApp } from './app-process.js';
import { childEnv } from './child-env.js';

/** `warmlane api` and `warmlane worker`: one app alone, for machines that share a Redis. */
export function addAloneCommands(program: Command): void {
  program
    .command('api')
    .description('run the API alone, on a given Redis')
    .option('--models <dir>', 'model repository (WARMLANE_MODELS, ./models)')
    .option('--http <host:port>', 'where it listens (WARMLANE_HTTP, 127.0.0.1:8000)')
    .option('--redis <url>', 'the Redis it shares with the workers (WARMLANE_REDIS)')
    .action((flags: Flags) => runAlone('api', flags));
  program
    .command('worker')
    .description('run one worker alone, on a given Redis')
    .option('--models <dir>', 'model repository (WARMLANE_MODELS, ./models)')
    .option('--redis <url>', 'the Redis it shares with the API (WARMLANE_REDIS)')
    .option('--device <device>', 'auto, cpu, cuda:N, GPU-<uuid> or MIG-<uuid> (WARMLANE_DEVICE, auto)')
    .option('--gpu-memory <size>', 'its memory budget, e.g. 20GiB (WARMLANE_GPU_MEMORY)')
    .action((flags: Flags) => runAlone('worker', flags));
}

async function runAlone(app: 'api' | 'worker', flags: Flags): Promise<void> {
  process.title = 'warmlane launcher';
  const settings = readSettings(flags, process.env, process.cwd());
  if (settings.redis === undefined) {
    throw new SetupError(
      `warmlane ${app} needs --redis URL (WARMLANE_REDIS): the API and its workers share one Redis. ` +
        `\`warmlane serve\` brings its own`,
    );
  }
  const env = childEnv(process.env, {
    settings,
    http: settings.http,
    redisUrl: settings.redis,
  });
  const running = startApp(appMain(app), env, STDERR);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => running.signal('SIGTERM'));
  }
  const end = await running.ended;
  process.exitCode = end.code ?? 1;
}
