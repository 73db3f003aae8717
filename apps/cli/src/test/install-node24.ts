import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { runCommand } from '@warmlane/process';
import { node24Folder, node24Suite } from './suites.js';

const INSTALL_LIMIT_MS = 180_000;

/** Installs the pinned Node 24 into its own folder at need. Returns null, or why it could not be had. */
export async function installNode24(): Promise<string | null> {
  const node = join(node24Suite.nodeFolder ?? '', 'node');
  const present = await access(node).then(
    () => true,
    () => false,
  );
  if (!present) {
    const install = await runCommand('npm', ['ci', '--no-audit', '--no-fund'], {
      cwd: node24Folder,
      timeoutMs: INSTALL_LIMIT_MS,
    });
    if (install.code !== 0) {
      return `npm ci in ${node24Folder} failed: ${install.stderr.trim().split('\n').at(-1) ?? ''}`;
    }
  }
  const version = await runCommand(node, ['--version'], { timeoutMs: 20_000 });
  return version.stdout.startsWith('v24.') ? null : `${node} does not start: ${version.stderr.trim()}`;
}
