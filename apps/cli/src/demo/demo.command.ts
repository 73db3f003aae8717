import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { demoLogPath, runDemo } from './demo.js';
import { printResult, summarize } from './demo-result.js';
import { textProgress } from './progress.js';

/** `warmlane demo`: the whole way on real models. Exit 0 only if every lane is READY and no answer wrong. */
export function addDemoCommand(program: Command): void {
  program
    .command('demo')
    .description('warm the shapes of two real models, send 300 requests, check every answer')
    .option('--json <file>', 'also write the result as JSON')
    .action(async (options: { json?: string }) => {
      process.title = 'warmlane demo';
      const stop = new AbortController();
      for (const signal of ['SIGTERM', 'SIGINT'] as const) {
        process.on(signal, () => stop.abort(new Error(`stopped by ${signal}`)));
      }
      const progress = textProgress(process.stdout);
      try {
        const facts = await runDemo({ env: process.env, progress, signal: stop.signal });
        const result = summarize(facts);
        process.stdout.write(`\n${printResult(result, facts)}`);
        if (options.json !== undefined) {
          await writeFile(resolve(options.json), `${JSON.stringify(result, null, 2)}\n`);
        }
        process.exitCode = result.ok ? 0 : 1;
      } catch (error) {
        process.exitCode = 1;
        progress.say(`the demo failed: ${error instanceof Error ? error.message : String(error)}`);
        progress.say(`the log of its processes is in ${demoLogPath}`);
      }
    });
}
