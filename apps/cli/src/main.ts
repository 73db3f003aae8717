import { WarmlaneError } from '@warmlane/contracts';
import { SetupError } from '@warmlane/process';
import { Command } from 'commander';
import { addBenchCommand } from './bench.command.js';
import { addDemoCommand } from './demo/demo.command.js';
import { addDoctorCommand } from './doctor/doctor.command.js';
import { addAloneCommands } from './serve/alone.command.js';
import { addServeCommand } from './serve/serve.command.js';
import { addTestCommand } from './test/test.command.js';

const program = new Command('warmlane').description('Keeps ONNX Runtime models warm, shape by shape, and serves them.');
addDemoCommand(program);
addServeCommand(program);
addAloneCommands(program);
addTestCommand(program);
addBenchCommand(program);
addDoctorCommand(program);

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`warmlane: ${explain(error)}\n`);
  process.exitCode = 1;
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
