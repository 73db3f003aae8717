import { describe, expect, it } from 'vitest';
import { judgeReport } from './vitest-report.js';

type Status = 'passed' | 'failed' | 'skipped' | 'todo';
function report(tests: Record<string, Status>, file: { status?: string; message?: string; success?: boolean } = {}) {
  return JSON.stringify({
    success: file.success ?? true,
    testResults: [
      {
        name: '/x/a.spec.ts',
        status: file.status ?? 'passed',
        message: file.message ?? '',
        assertionResults: Object.entries(tests).map(([fullName, status]) => ({ fullName, status })),
      },
    ],
  });
}
const judge = (text: string | null, exitCode: number | null = 0) =>
  judgeReport(text, { exitCode, maySkip: (name) => name.startsWith('gpu') });

describe('judgeReport', () => {
  it('counts', () => {
    expect(judge(report({ a: 'passed', b: 'passed', 'gpu c': 'skipped' }))).toEqual({
      passed: 2,
      failed: 0,
      skipped: 1,
      problems: [],
    });
  });

  it('counts a suite of which nothing runs here', () => {
    const text = report({ 'gpu a': 'skipped', 'gpu b': 'skipped' });
    expect(judgeReport(text, { exitCode: 0, maySkip: () => true, onlyCounted: true })).toEqual({
      passed: 0,
      failed: 0,
      skipped: 2,
      problems: [],
    });
  });

  it.each([
    ['a failed test', report({ a: 'passed', b: 'failed' }, { status: 'failed', success: false }), 1, 'failed: b'],
    ['a skip that is not allowed', report({ a: 'passed', b: 'skipped' }), 0, 'skipped, which is not allowed: b'],
    ['a todo', report({ a: 'passed', b: 'todo' }), 0, 'skipped, which is not allowed: b'],
    ['no test', report({}), 0, 'no test passed'],
    ['nothing but skipped tests', report({ 'gpu a': 'skipped' }), 0, 'no test passed'],
    [
      'a file that does not load',
      report({}, { status: 'failed', message: 'SyntaxError: x\nat y', success: false }),
      1,
      'failed as a file: /x/a.spec.ts SyntaxError: x',
    ],
    ['an error outside of the tests', report({ a: 'passed' }), 1, 'ended with code 1 although no test failed'],
    ['no report', null, null, 'wrote no report (code none)'],
    ['half a report', '{"success": tr', 1, 'wrote no report (code 1)'],
  ] as const)('fails on %s', (_what, text, exitCode, problem) => {
    const outcome = judge(text, exitCode);
    expect(outcome.failed).toBe(1);
    expect(outcome.problems[0]).toContain(problem);
  });
});
