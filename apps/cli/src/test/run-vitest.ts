import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { projectRoot } from '../project-paths.js';
import type { Suite } from './suites.js';
import { judgeReport, type SuiteOutcome } from './vitest-report.js';

const VITEST = join(projectRoot, 'node_modules', 'vitest', 'vitest.mjs');
const REPORTS = join(projectRoot, '.cache', 'test-reports');
const MATCHES_NOTHING = '(?!)';

export interface RunOptions {
  env: NodeJS.ProcessEnv;
  maySkip: (fullName: string) => boolean;
  /** Kills the run. */
  signal: AbortSignal;
}

/**
 * Runs a suite, its progress on our stdout, and judges its report. The runner leads a process group of its own, so that its
 * workers go with it when it is killed: past the suite's limit or by `signal`.
 */
export function runSuite(suite: Suite, options: RunOptions): Promise<SuiteOutcome> {
  return run(suite, [], options, false);
}

/** Counts a suite's tests: each is collected and skipped, and as none runs, their files may share modules. */
export function countSuite(suite: Suite, options: RunOptions): Promise<SuiteOutcome> {
  return run(suite, ['--testNamePattern', MATCHES_NOTHING, '--no-isolate'], { ...options, maySkip: () => true }, true);
}

async function run(
  suite: Suite,
  more: readonly string[],
  { env, maySkip, signal }: RunOptions,
  onlyCounted: boolean,
): Promise<SuiteOutcome> {
  signal.throwIfAborted();
  await mkdir(REPORTS, { recursive: true });
  const reportPath = join(REPORTS, `${suite.name}.json`);
  await rm(reportPath, { force: true });
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${reportPath}`];
  const child = spawn(nodeOf(suite), [VITEST, 'run', ...suite.args, ...more, ...reporters], {
    cwd: projectRoot,
    env: testEnv(suite, env),
    stdio: ['ignore', 'inherit', 'inherit'],
    detached: true,
  });
  const killAll = (): void => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      process.kill(-child.pid, 'SIGKILL');
    }
  };
  const timer = setTimeout(killAll, suite.limitMs);
  signal.addEventListener('abort', killAll);
  try {
    const [exitCode] = await once(child, 'exit');
    signal.throwIfAborted();
    const text = await readFile(reportPath, 'utf8').catch(() => null);
    return judgeReport(text, { exitCode: typeof exitCode === 'number' ? exitCode : null, maySkip, onlyCounted });
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', killAll);
  }
}

function nodeOf(suite: Suite): string {
  return suite.nodeFolder === null ? process.execPath : join(suite.nodeFolder, 'node');
}

/** The environment without this user's own settings of Warmlane, which would change what is tested. */
function testEnv(suite: Suite, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(
    ([name]) => !name.startsWith('WARMLANE_') || name.startsWith('WARMLANE_TEST_'),
  );
  const path = suite.nodeFolder === null ? env.PATH : [suite.nodeFolder, env.PATH].join(delimiter);
  return { ...Object.fromEntries(kept), PATH: path, ...suite.env };
}
