import type { z } from 'zod';

type Issue = z.core.$ZodIssue;

/** The first thing that is wrong with a document: where, and what was expected. */
export function describeIssue(error: z.ZodError): string {
  const [issue] = error.issues;
  return issue === undefined ? 'not of the expected form' : describe(issue, []);
}

function describe(issue: Issue, parent: readonly PropertyKey[]): string {
  const path = [...parent, ...issue.path];
  // Of the forms that a part may have, the one that is wrong in the fewest ways was meant.
  if (issue.code === 'invalid_union') {
    const nearest = [...issue.errors].sort((a, b) => a.length - b.length)[0]?.[0];
    if (nearest !== undefined) return describe(nearest, path);
  }
  const where = path.map(String).join('.');
  return where === '' ? issue.message : `${where}: ${issue.message}`;
}
