#!/usr/bin/env node
// Lock files name no registry: `resolved` appears only for our own workspaces, and every package has its integrity.
// (.npmrc sets omit-lockfile-registry-resolved; an npm that ignores it would write addresses of the machine's mirror.)
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = new URL('../', import.meta.url);
const problems = [];
for (const file of ['package-lock.json', 'tools/node24/package-lock.json']) {
  const lock = JSON.parse(readFileSync(new URL(file, root), 'utf8'));
  for (const [path, entry] of Object.entries(lock.packages)) {
    const isOurs = !path.includes('node_modules/') || entry.link === true;
    if (!isOurs && entry.resolved !== undefined) {
      problems.push(`${file}: ${path} has resolved ${entry.resolved}`);
    }
    if (!isOurs && entry.integrity === undefined && entry.inBundle !== true) {
      problems.push(`${file}: ${path} has no integrity`);
    }
  }
}
if (problems.length > 0) {
  console.error(problems.join('\n'));
  console.error(
    `Fix: in ${fileURLToPath(root)} run npm install with the .npmrc beside the lock file (omit-lockfile-registry-resolved=true)`,
  );
  process.exit(1);
}
