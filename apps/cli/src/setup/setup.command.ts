import { homedir } from 'node:os';
import { cacheFolder, findNvidiaDevices, runCommand, SetupError } from '@warmlane/process';
import type { Command } from 'commander';
import { probeOrt } from '../doctor/probe-ort.js';
import { CUDA_PROVIDER, installCudaProvider, ORT_LIBRARY, packageLibrary } from './cuda-provider.js';
import { explainMissing } from './missing-libraries.js';

interface SetupFlags {
  registry?: string;
  archive?: string;
}

/** `warmlane setup cuda`: brings the CUDA provider for the pinned ONNX Runtime, says what else is missing. */
export function addSetupCommand(program: Command): void {
  program
    .command('setup')
    .description('bring what is not in the packages')
    .command('cuda')
    .description('bring the CUDA provider of ONNX Runtime into the cache folder, 180 MB')
    .option('--registry <url>', "npm registry to download from (npm's own setting)")
    .option('--archive <file>', 'the archive, brought here by other means')
    .action(async (flags: SetupFlags) => {
      const folder = await install(flags);
      process.stdout.write(
        `${[`ONNX Runtime with its CUDA provider: ${folder}`, ...(await remarks(folder))].join('\n')}\n`,
      );
    });
}

async function install(flags: SetupFlags): Promise<string> {
  const cacheDir = cacheFolder(process.env.XDG_CACHE_HOME, homedir());
  const registry = flags.registry ?? (await npmRegistry());
  try {
    return await installCudaProvider({
      cacheDir,
      registry,
      archive: flags.archive,
      ortLibrary: await packageLibrary(),
      onProgress: (text) => process.stderr.write(`${text}\n`),
    });
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    throw new SetupError(`${error.message}\n${withoutNetwork(registry)}`);
  }
}

/** What to do where the network does not allow it. */
function withoutNetwork(registry: string): string {
  const file = CUDA_PROVIDER.path.split('/').at(-1);
  const url = `${registry.replace(/\/$/, '')}/${CUDA_PROVIDER.path}`;
  return (
    `Without this download: fetch ${url} elsewhere and run 'warmlane setup cuda --archive ${file}'. Or set ORT_LIB_DIR to a ` +
    `folder with ${[ORT_LIBRARY, ...CUDA_PROVIDER.members.map((member) => member.split('/').at(-1))].join(', ')} of one build ` +
    `of ONNX Runtime`
  );
}

async function npmRegistry(): Promise<string> {
  const npm = await runCommand('npm', ['config', 'get', 'registry'], { timeoutMs: 20_000 });
  const url = npm.stdout.trim();
  return npm.code === 0 && URL.canParse(url) ? url : 'https://registry.npmjs.org/';
}

async function remarks(folder: string): Promise<string[]> {
  const [{ cuda }, devices] = await Promise.all([probeOrt(folder), findNvidiaDevices()]);
  const use =
    devices.length > 0
      ? 'serve, worker, demo and doctor use it from now on; ORT_LIB_DIR names another one'
      : 'This machine has no NVIDIA device: it is not used here';
  if (cuda.loadable) return ['It loads.', use];
  if (cuda.missing.length === 0) return [`It does not load: ${cuda.reason}`, use];
  return [
    'It does not load yet, these libraries are missing:',
    ...explainMissing(cuda.missing).map((line) => `  ${line}`),
    use,
  ];
}
