import { runCommand } from '@warmlane/process';

/** What this machine lets tests do. */
export interface TestRights {
  isRoot: boolean;
  hasUserNamespaces: boolean;
}

/** Tests that need rights not everybody has say so in their name: `[needs browser]`, `[needs mount]`, `[needs other user]`. */
const NEEDS_RIGHTS = /\[needs (?:browser|mount|other user)\]/;

/** Whether a test may be skipped here: only one that needs rights, and only where neither root nor user namespaces are. */
export function maySkipHere(fullName: string, rights: TestRights): boolean {
  return NEEDS_RIGHTS.test(fullName) && !rights.isRoot && !rights.hasUserNamespaces;
}

export async function testRights(): Promise<TestRights> {
  const isRoot = process.getuid?.() === 0;
  const probe = await runCommand('unshare', ['--user', '--map-root-user', 'true'], { timeoutMs: 5_000 });
  return { isRoot, hasUserNamespaces: probe.code === 0 };
}
