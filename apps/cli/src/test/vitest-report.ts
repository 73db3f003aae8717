import { z } from 'zod';

// What `vitest run --reporter=json` writes, as far as it is read here.
const reportSchema = z.object({
  success: z.boolean(),
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      message: z.string().optional(),
      assertionResults: z.array(
        z.object({
          fullName: z.string(),
          status: z.enum(['passed', 'failed', 'skipped', 'pending', 'todo', 'disabled']),
        }),
      ),
    }),
  ),
});

/** The outcome of one suite. `problems` holds why it counts as failed, one line each. */
export interface SuiteOutcome {
  passed: number;
  failed: number;
  skipped: number;
  problems: string[];
}

export interface JudgeOptions {
  /** The runner's exit code; null when a signal ended it. */
  exitCode: number | null;
  /** Whether a skipped test of this name is allowed. */
  maySkip: (fullName: string) => boolean;
  /** True for a suite that is only counted here: none of its tests has to pass. */
  onlyCounted?: boolean;
}

/**
 * Counts a suite and finds what must not pass unseen: failures, files that could not be read as tests, skips that are not
 * allowed, no test that passed. Each problem without a failed test of its own counts as one failed.
 * @param text the JSON report, or null when the runner wrote none
 */
export function judgeReport(text: string | null, options: JudgeOptions): SuiteOutcome {
  const parsed = text === null ? null : reportSchema.safeParse(parseJson(text));
  if (parsed === null || !parsed.success) {
    return { passed: 0, failed: 1, skipped: 0, problems: [`wrote no report (code ${options.exitCode ?? 'none'})`] };
  }
  const outcome: SuiteOutcome = { passed: 0, failed: 0, skipped: 0, problems: [] };
  const fail = (problem: string): void => {
    outcome.failed += 1;
    outcome.problems.push(problem);
  };
  for (const file of parsed.data.testResults) {
    for (const test of file.assertionResults) {
      if (test.status === 'passed') {
        outcome.passed += 1;
      } else if (test.status === 'failed') {
        fail(`failed: ${test.fullName}`);
      } else if (options.maySkip(test.fullName)) {
        outcome.skipped += 1;
      } else {
        fail(`skipped, which is not allowed: ${test.fullName}`);
      }
    }
    if (file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed')) {
      fail(`failed as a file: ${file.name} ${file.message?.split('\n')[0] ?? ''}`.trim());
    }
  }
  if (outcome.failed === 0 && outcome.passed === 0 && options.onlyCounted !== true) {
    fail('no test passed');
  }
  if (outcome.failed === 0 && (options.exitCode !== 0 || !parsed.data.success)) {
    fail(`ended with code ${options.exitCode ?? 'none'} although no test failed (an error outside of the tests)`);
  }
  return outcome;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
