import { homedir } from 'node:os';
import { WarmlaneError } from '@warmlane/contracts';
import { cacheFolder, SetupError } from '@warmlane/process';
import { Command } from 'commander';
import { addBenchCommand } from './bench.command.js';
import { addDemoCommand } from './demo/demo.command.js';
import { addDoctorCommand } from './doctor/doctor.command.js';
import { addAloneCommands } from './serve/alone.command.js';
import { addServeCommand } from './serve/serve.command.js';
import { installedCudaProvider } from './setup/cuda-provider.js';
import { addSetupCommand } from './setup/setup.command.js';
import { addTestCommand } from './test/test.command.js';
import { addTuneCommand } from './tune/tune.command.js';

const program = new Command('warmlane').description('Keeps ONNX Runtime models warm, shape by shape, and serves them.');
addDemoCommand(program);
addServeCommand(program);
addAloneCommands(program);
addTestCommand(program);
addBenchCommand(program);
addDoctorCommand(program);
addTuneCommand(program);
addSetupCommand(program);

try {
  await useInstalledProvider();
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`warmlane: ${explain(error)}\n`);
  process.exitCode = 1;
}

/** What `setup cuda` brought is used like a build that ORT_LIB_DIR names, by every command; ORT_LIB_DIR itself wins. */
async function useInstalledProvider(): Promise<void> {
  if (process.env.ORT_LIB_DIR) return;
  const folder = await installedCudaProvider(cacheFolder(process.env.XDG_CACHE_HOME, homedir()));
  if (folder !== null) process.env.ORT_LIB_DIR = folder;
}

function explain(error: unknown): string {
  if (error instanceof SetupError) {
    return error.message;
  }
  if (error instanceof WarmlaneError) {
    return `${error.message} ${error.hint}`.trim();
  }
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
