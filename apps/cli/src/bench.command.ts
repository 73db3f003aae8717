import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SetupError } from '@warmlane/process';
import type { Command } from 'commander';
import { projectRoot } from './project-paths.js';

/** `warmlane bench NAME [...args]`: runs `bench/dist/NAME.js`; results go to `bench/results/`. */
export function addBenchCommand(program: Command): void {
  program
    .command('bench')
    .description('run a bench and write its result to bench/results')
    .argument('<name>', 'which one')
    .argument('[args...]', "the bench's own arguments")
    .allowUnknownOption()
    .action(async (name: string, args: string[]) => {
      const folder = join(projectRoot, 'bench', 'dist');
      const files = await readdir(folder).catch(() => []);
      const names = files
        .filter((file) => file.endsWith('.js') && file !== 'types.js')
        .map((file) => basename(file, '.js'));
      if (!names.includes(name)) {
        throw new SetupError(`There is no bench '${name}'. There are: ${names.sort().join(', ') || 'none'}`);
      }
      const bench = spawn(process.execPath, [join(folder, `${name}.js`), ...args], { stdio: 'inherit' });
      for (const signal of ['SIGTERM', 'SIGINT'] as const) {
        process.on(signal, () => bench.kill('SIGTERM'));
      }
      const [code] = await once(bench, 'exit');
      process.exitCode = typeof code === 'number' ? code : 1;
    });
}
