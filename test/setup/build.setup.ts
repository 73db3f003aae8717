import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** From nothing it takes a minute on two cores; a compiler that hangs must not hang the suite. */
const BUILD_LIMIT_MS = 10 * 60_000;

/** Once before a project's files: the programs that its tests start are those of the present sources. */
export async function setup(): Promise<void> {
  const root = fileURLToPath(new URL('../../', import.meta.url));
  // A machine that the compiled project was brought to has no compiler.
  if (!existsSync(`${root}node_modules/typescript`)) return;
  try {
    await promisify(execFile)(process.execPath, ['node_modules/typescript/bin/tsc', '-b', 'tsconfig.build.json'], {
      cwd: root,
      timeout: BUILD_LIMIT_MS,
    });
  } catch (error) {
    const printed = error instanceof Error && 'stdout' in error ? String(error.stdout) : String(error);
    throw new Error(`the build failed:\n${printed}`);
  }
}
