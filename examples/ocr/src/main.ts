import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import { type GreyImage, readPng } from './image.js';
import { PageReader } from './reader.js';
import { alphabet } from './recognition.js';
import { ASSETS, ExampleServer } from './server.js';
import { countRuns } from './statistics.js';
import { printTable, type Row, rowOf, timesOf } from './table.js';

// Two stages over one server: `det` finds the lines of a page, `rec` reads them, all lines of a page at once. Pages and
// lines differ in size, so the shapes change from request to request; that is what a single warmed session forgets.

interface Page {
  name: string;
  image: GreyImage;
}

/** What a worker runs on. */
interface Device {
  device: string;
  provider: string;
}

interface Settings {
  url?: string;
  pages: string;
  rounds: number;
  concurrency: number;
  json?: string;
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 10_000) throw new InvalidArgumentError('Not from 1 to 10000.');
  return value;
}

function readSettings(): Settings {
  return new Command('ocr')
    .description('reads PNG pages through Warmlane in two stages and prints what it took')
    .option('--url <url>', 'a running server that has det, rec, det-plain and rec-plain; without it one is started')
    .option('--pages <folder>', 'PNG files to read', fileURLToPath(new URL('../pages/', import.meta.url)))
    .option('--rounds <n>', 'how often every page is read', count, 20)
    .option('--concurrency <n>', 'pages under way at once', count, 2)
    .option('--json <file>', 'write the table as JSON as well')
    .parse()
    .opts<Settings>();
}

async function readPages(folder: string): Promise<Page[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.png')).sort();
  if (names.length === 0) throw new Error(`${folder} holds no PNG file; name another folder with --pages.`);
  return Promise.all(names.map(async (name) => ({ name, image: readPng(await readFile(join(folder, name))) })));
}

/** Reads every page `rounds` times, `concurrency` at once; the texts of the first round. */
async function readAll(reader: PageReader, pages: readonly Page[], { rounds, concurrency }: Settings) {
  const texts = new Map<string, string[]>();
  const pageMs: number[] = [];
  const todo = Array.from({ length: rounds }, () => pages).flat();
  const client = async (): Promise<void> => {
    for (let page = todo.shift(); page !== undefined; page = todo.shift()) {
      const { lines, ms } = await reader.read(page.image);
      pageMs.push(ms);
      const before = texts.get(page.name);
      if (before !== undefined && before.join('\n') !== lines.join('\n')) {
        throw new Error(`${page.name} was read in two ways:\n${before.join('\n')}\n--\n${lines.join('\n')}`);
      }
      texts.set(page.name, lines);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, client));
  return { texts, pageMs };
}

async function measure(url: string, twin: string, pages: readonly Page[], settings: Settings) {
  const models = { det: `det${twin}`, rec: `rec${twin}` };
  const characters = alphabet(await readFile(join(ASSETS, 'ppocr_keys_v1.txt'), 'utf8'));
  const reader = new PageReader(url, models, characters);
  // The first reading is not counted: it compiles this program.
  await readAll(reader, pages, { ...settings, rounds: 1 });
  reader.sent.length = 0;
  const before = await countRuns(url, models.rec);
  const { texts, pageMs } = await readAll(reader, pages, settings);
  const after = await countRuns(url, models.rec);
  const runs = after.runs - before.runs;
  const what = twin === '' ? 'lanes' : 'without a plan';
  const of = (model: string) => reader.sent.filter((one) => one.model === model);
  const rows: Row[] = [
    rowOf(`det, ${what}`, of(models.det), null),
    rowOf(`rec, ${what}`, of(models.rec), runs === 0 ? null : (after.inferences - before.inferences) / runs),
    timesOf(`page, ${what}`, pageMs),
  ];
  return { texts, rows };
}

async function run(url: string, settings: Settings): Promise<void> {
  const pages = await readPages(settings.pages);
  const warm = await measure(url, '', pages, settings);
  const plain = await measure(url, '-plain', pages, settings);
  for (const [name, lines] of warm.texts)
    process.stdout.write(`${name}\n${lines.map((line) => `  ${line}\n`).join('')}`);
  const rows = [...warm.rows, ...plain.rows];
  process.stdout.write(`\n${printTable(rows)}\n`);
  if (settings.json !== undefined) {
    const texts = Object.fromEntries(warm.texts);
    const { workers } = (await (await fetch(`${url}/v1/workers`)).json()) as { workers: Device[] };
    const devices = workers.map(({ device, provider }) => ({ device, provider }));
    await writeFile(settings.json, `${JSON.stringify({ devices, rows, texts }, null, 2)}\n`);
  }
}

async function main(): Promise<void> {
  const settings = readSettings();
  if (settings.url !== undefined) {
    await run(settings.url, settings);
    return;
  }
  await using server = await ExampleServer.start();
  await run(server.url, settings);
}

await main().catch((error: unknown) => {
  process.stderr.write(`ocr: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
