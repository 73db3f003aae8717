import { printAddress } from '@warmlane/process';
import type { Command } from 'commander';
import { type Flags, readSettings } from '../config/settings.schema.js';
import { jsonLog } from '../log.js';
import { appMain } from '../project-paths.js';
import { STDERR } from './app-process.js';
import { Serve } from './serve.js';

/** `warmlane serve`: everything on this machine, in the foreground. */
export function addServeCommand(program: Command): void {
  program
    .command('serve')
    .description('run an API, a worker and, unless one is given, a Redis of its own')
    .option('--models <dir>', 'model repository (WARMLANE_MODELS, ./models)')
    .option('--http <host:port>', 'where the API listens (WARMLANE_HTTP, 127.0.0.1:8000)')
    .option('--redis <url>', 'a running Redis (WARMLANE_REDIS; default: an own one)')
    .option('--device <device>', 'auto, cpu, cuda:N, GPU-<uuid> or MIG-<uuid> (WARMLANE_DEVICE, auto)')
    .option('--workers <n>', 'workers on the CPU; a GPU has one (WARMLANE_WORKERS, 1)')
    .option('--gpu-memory <size>', "the worker's memory budget, e.g. 20GiB (WARMLANE_GPU_MEMORY)")
    .action(async (flags: Flags) => {
      process.title = 'warmlane serve';
      const settings = readSettings(flags, process.env, process.cwd());
      const serve = new Serve({
        settings,
        env: process.env,
        log: jsonLog('serve', settings.logLevel),
        logFd: STDERR,
        appMain,
        onReady: (address) => {
          process.stdout.write(`warmlane ready http://${printAddress(address)}\n`);
        },
      });
      for (const signal of ['SIGTERM', 'SIGINT'] as const) {
        process.on(signal, () => serve.stop());
      }
      await serve.run();
      // All that can be ended has ended; a child that the kernel does not let go of would keep this process as well.
      process.exit(0);
    });
}
