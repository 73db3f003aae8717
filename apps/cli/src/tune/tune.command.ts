import { type TuningView, WarmlaneError } from '@warmlane/contracts';
import { SetupError } from '@warmlane/process';
import type { Command } from 'commander';
import { type Progress, textProgress } from '../demo/progress.js';
import { AdminClient } from './admin-client.js';
import { printTunings } from './tuning-table.js';

interface TuneFlags {
  url?: string;
  key?: string;
  model?: string;
  version?: string;
  run?: boolean;
  json?: boolean;
}

/** `warmlane tune`: the table of a running server; with `--run` it asks for a model's plan to be tuned and waits for it. */
export function addTuneCommand(program: Command): void {
  program
    .command('tune')
    .description('show which options were tried for each shape and which are in force, or have them tried')
    .option('--url <url>', 'the server (http:// and WARMLANE_HTTP, http://127.0.0.1:8000)')
    .option('--key <key>', 'API key of the role admin (WARMLANE_API_KEY)')
    .option('--model <name>', 'of this model alone')
    .option('--version <n>', 'of this version alone; with --run default the highest that is loaded')
    .option('--run', "have the model's plan tuned, and wait")
    .option('--json', 'print one JSON object')
    .action(async (flags: TuneFlags) => {
      process.title = 'warmlane tune';
      const stop = new AbortController();
      for (const signal of ['SIGTERM', 'SIGINT'] as const) {
        process.on(signal, () => stop.abort(new Error(`stopped by ${signal}`)));
      }
      const client = new AdminClient(urlOf(flags, process.env), keyOf(flags, process.env), stop.signal);
      let filter = { model: flags.model ?? null, version: flags.version ?? null };
      if (flags.run === true) {
        if (filter.model === null) throw new SetupError('warmlane tune --run needs --model NAME');
        const version = filter.version ?? (await client.loadedVersion(filter.model));
        filter = { ...filter, version };
        await tune(client, filter.model ?? '', version, textProgress(process.stderr));
      }
      const tunings = await client.tunings(filter);
      process.stdout.write(flags.json === true ? `${JSON.stringify({ tunings }, null, 2)}\n` : printTunings(tunings));
    });
}

/** The server's address without a slash at its end. */
export function urlOf({ url }: Pick<TuneFlags, 'url'>, env: NodeJS.ProcessEnv): string {
  const text = url ?? `http://${env.WARMLANE_HTTP || '127.0.0.1:8000'}`;
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw new SetupError(`--url '${text}' is not an address such as http://127.0.0.1:8000`);
  }
  return text.replace(/\/+$/, '');
}

function keyOf({ key }: Pick<TuneFlags, 'key'>, env: NodeJS.ProcessEnv): string | null {
  return key ?? (env.WARMLANE_API_KEY || null);
}

async function tune(client: AdminClient, model: string, version: string, progress: Progress): Promise<void> {
  progress.say(`warming the plan of ${model}/${version} with the options that are given`);
  const view = await client.warmUpTuned(model, version, ({ ready, total }) => progress.count('ready', ready, total));
  const shapes = new Set(view.lanes.filter(({ state }) => state === 'READY').map(({ shapeKey }) => shapeKey));
  if (shapes.size === 0) {
    const reason = view.lanes.find((lane) => lane.reason !== '')?.reason ?? view.reason;
    throw new WarmlaneError('internal', `no lane of ${model}/${version} is ready: ${reason}`);
  }
  progress.say(`trying candidates for ${shapes.size} shapes`);
  let tried = -1;
  for (;;) {
    const tunings = await client.tunings({ model, version });
    const count = tunings.reduce((sum, tuning) => sum + tuning.candidates.length, 0);
    if (count !== tried) progress.say(lineOf(tunings, count));
    tried = count;
    if (areDone(tunings, shapes)) return;
    await client.pause();
  }
}

/** Every shape has a winner, and no worker searches for another environment. */
function areDone(tunings: readonly TuningView[], shapes: ReadonlySet<string>): boolean {
  const done = new Set(tunings.filter(({ state }) => state === 'done').map(({ shapeKey }) => shapeKey));
  return [...shapes].every((shape) => done.has(shape)) && tunings.every(({ state }) => state === 'done');
}

function lineOf(tunings: readonly TuningView[], tried: number): string {
  const [latest] = [...tunings].sort((a, b) => (a.updatedAt < b.updatedAt ? 1 : -1));
  const last = latest?.candidates.at(-1);
  const done = tunings.filter(({ state }) => state === 'done').length;
  const what =
    last === undefined || latest === undefined ? '' : `, last ${last.name} with ${latest.shapeKey}: ${last.outcome}`;
  return `${tried} trials, ${done} shapes done${what}`;
}
