import { findNvidiaDevices, SetupError } from '@warmlane/process';
import type { Command } from 'commander';
import { probeOrt } from '../doctor/probe-ort.js';
import { plainLog } from '../log.js';
import { findRedis } from '../serve/own-redis.js';
import { installNode24 } from './install-node24.js';
import { countSuite, runSuite } from './run-vitest.js';
import { maySkipHere, testRights } from './skip-rules.js';
import { chooseSuites, gpuSuite, node24Suite, type Suite, type SuiteChoice } from './suites.js';
import type { SuiteOutcome } from './vitest-report.js';

/** `warmlane test`: every suite that can run here. The last line is `N passed, N failed, N skipped`. */
export function addTestCommand(program: Command): void {
  program
    .command('test')
    .description('run the test suites')
    .option('--chaos', 'also the chaos suite: processes and Redis are killed under load')
    .option('--soak', 'also the chaos suite, and its storms for WARMLANE_SOAK minutes (30)')
    .option('--fuzz', 'also the seeded fuzz suite')
    .action(async (choice: SuiteChoice) => {
      process.title = 'warmlane test';
      const stop = new AbortController();
      for (const signal of ['SIGTERM', 'SIGINT'] as const) {
        process.on(signal, () => stop.abort(new SetupError(`stopped by ${signal}`)));
      }
      const outcomes = await runAll(choice, process.env, stop.signal);
      process.exitCode = printSummary(outcomes) ? 0 : 1;
    });
}

type Outcomes = Map<string, SuiteOutcome>;

async function runAll(choice: SuiteChoice, env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<Outcomes> {
  const outcomes: Outcomes = new Map();
  // Once, before suites that run in parallel would each unpack it.
  await findRedis(env, plainLog);
  const rights = await testRights();
  const options = { env, signal, maySkip: (name: string) => maySkipHere(name, rights) };
  const run = async (suite: Suite, maySkip = options.maySkip): Promise<void> => {
    process.stdout.write(`\n=== ${suite.name}\n`);
    outcomes.set(suite.name, await runSuite(suite, { ...options, maySkip }));
  };
  for (const suite of chooseSuites(choice, soakMinutes(env))) {
    await run(suite);
  }
  const withoutGpu = await whyNoGpu(env);
  if (withoutGpu === null) {
    // A device may lack what one of them needs (MIG, a second GPU).
    await run(gpuSuite, () => true);
  } else {
    process.stdout.write(`\n=== gpu: only counted, ${withoutGpu}\n`);
    outcomes.set('gpu', await countSuite(gpuSuite, options));
  }
  if (process.platform === 'linux' && process.arch === 'x64') {
    const problem = await installNode24();
    if (problem === null) {
      await run(node24Suite);
    } else {
      outcomes.set('node24', { passed: 0, failed: 1, skipped: 0, problems: [problem] });
    }
  }
  return outcomes;
}

/** Why the GPU tests cannot run here, or null. */
async function whyNoGpu(env: NodeJS.ProcessEnv): Promise<string | null> {
  if ((await findNvidiaDevices()).length === 0) {
    return 'no NVIDIA device';
  }
  const { cuda } = await probeOrt(env.ORT_LIB_DIR);
  return cuda.loadable ? null : cuda.reason;
}

function soakMinutes(env: NodeJS.ProcessEnv): number | null {
  const text = env.WARMLANE_SOAK;
  if (text === undefined || text === '') {
    return null;
  }
  const minutes = Number(text);
  if (!Number.isInteger(minutes) || minutes < 1 || minutes > 10_080) {
    throw new SetupError(`WARMLANE_SOAK '${text}' is not a number of minutes from 1 to 10080`);
  }
  return minutes;
}

/** Prints each suite's counts, the problems, and the sum as the last line. Returns whether all is well. */
function printSummary(outcomes: Outcomes): boolean {
  const sum = { passed: 0, failed: 0, skipped: 0 };
  process.stdout.write('\n');
  for (const [name, outcome] of outcomes) {
    sum.passed += outcome.passed;
    sum.failed += outcome.failed;
    sum.skipped += outcome.skipped;
    process.stdout.write(
      `${name.padEnd(8)} ${outcome.passed} passed, ${outcome.failed} failed, ${outcome.skipped} skipped\n`,
    );
    for (const problem of outcome.problems) {
      process.stdout.write(`         ${problem}\n`);
    }
  }
  process.stdout.write(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped\n`);
  return sum.failed === 0 && sum.passed > 0;
}
