import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { runCommand } from '@warmlane/process';
import { z } from 'zod';
import { projectRoot } from '../project-paths.js';
import type { Suite } from './suites.js';
import { judgeReport, type SuiteOutcome } from './vitest-report.js';

const VITEST = join(projectRoot, 'node_modules', 'vitest', 'vitest.mjs');
const REPORTS = join(projectRoot, '.cache', 'test-reports');
const LIST_LIMIT_MS = 120_000;

/** Runs a suite, its progress on our stdout, and judges its report. */
export async function runSuite(
  suite: Suite,
  env: NodeJS.ProcessEnv,
  maySkip: (fullName: string) => boolean,
): Promise<SuiteOutcome> {
  await mkdir(REPORTS, { recursive: true });
  const reportPath = join(REPORTS, `${suite.name}.json`);
  await rm(reportPath, { force: true });
  const args = ['run', ...suite.args, '--reporter=default', '--reporter=json', `--outputFile.json=${reportPath}`];
  const child = spawn(nodeOf(suite), [VITEST, ...args], {
    cwd: projectRoot,
    env: testEnv(suite, env),
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: suite.limitMs,
    killSignal: 'SIGKILL',
  });
  const [exitCode] = await once(child, 'exit');
  const text = await readFile(reportPath, 'utf8').catch(() => null);
  return judgeReport(text, { exitCode: typeof exitCode === 'number' ? exitCode : null, maySkip });
}

/** How many tests a suite has, without running them. */
export async function countTests(suite: Suite, env: NodeJS.ProcessEnv): Promise<number> {
  await mkdir(REPORTS, { recursive: true });
  const listPath = join(REPORTS, `${suite.name}.list.json`);
  await rm(listPath, { force: true });
  await runCommand(process.execPath, [VITEST, 'list', ...suite.args, `--json=${listPath}`], {
    cwd: projectRoot,
    env: testEnv(suite, env),
    timeoutMs: LIST_LIMIT_MS,
  });
  const text = await readFile(listPath, 'utf8').catch(() => '[]');
  return z.array(z.unknown()).parse(JSON.parse(text)).length;
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
