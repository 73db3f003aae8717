import type { Command } from 'commander';
import colors from 'picocolors';
import { type Diagnosis, diagnose } from './checks.js';

/** `warmlane doctor`: what this machine has and lacks. Exit 1 when something needed is missing. */
export function addDoctorCommand(program: Command): void {
  program
    .command('doctor')
    .description('look at what this machine has of what Warmlane needs')
    .option('--json', 'print one JSON object')
    .action(async (options: { json?: boolean }) => {
      const diagnosis = await diagnose(process.env);
      process.stdout.write(options.json ? `${JSON.stringify(diagnosis, null, 2)}\n` : print(diagnosis));
      process.exitCode = diagnosis.ok ? 0 : 1;
    });
}

function print(diagnosis: Diagnosis): string {
  const lines = diagnosis.checks.flatMap((check) => {
    const mark = check.ok ? colors.green('ok  ') : check.needed ? colors.red('FAIL') : colors.yellow('-   ');
    const line = `${mark} ${check.name.padEnd(14)} ${check.found}`;
    return check.hint === '' ? [line] : [line, `     ${''.padEnd(14)} ${check.hint}`];
  });
  const verdict = diagnosis.ok ? 'Warmlane can run here.' : 'Something needed is missing: see FAIL above.';
  return `${[...lines, `     ${'providers'.padEnd(14)} ${diagnosis.providers.join(', ') || 'none'}`, verdict].join('\n')}\n`;
}
