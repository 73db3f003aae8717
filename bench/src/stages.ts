import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { benchDeviceOf, type WorkerDevice } from './support/bench-device.js';
import { ROOT, type Row, writeResult } from './support/result.js';

/** `./warmlane bench stages [--rounds 20]`: the example of two stages, measured: its own table, as it prints it. */
const { values } = parseArgs({ options: { rounds: { type: 'string', default: '20' } } });

const folder = await mkdtemp(join(tmpdir(), 'warmlane-stages-'));
try {
  const file = join(folder, 'table.json');
  const program = join(ROOT, 'examples/ocr/dist/main.js');
  const child = spawn(process.execPath, [program, '--json', file, '--rounds', values.rounds], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`the example ended with ${code}`);
  const { rows, devices } = JSON.parse(await readFile(file, 'utf8')) as { rows: Row[]; devices: WorkerDevice[] };
  const device = benchDeviceOf(devices);
  await writeResult({ name: 'stages', device: device.name, rows, figures: {} }, device.versions);
} finally {
  await rm(folder, { recursive: true, force: true });
}
