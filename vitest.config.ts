import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

const alias = [
  {
    find: /^@warmlane\/([a-z]+)$/,
    replacement: `${fileURLToPath(new URL('./libs/', import.meta.url))}$1/src/index.ts`,
  },
];

/** Files that take longest, most of it waiting: begun first, so that none of them is alone at the end. */
const LONGEST = [
  'queues-warmups-gone',
  'liveness',
  'queues-faults',
  'worker-fleet',
  'worker-redis',
  'worker-deaths',
  'worker-tuning',
  'worker-device',
  'worker-warmups',
  'serving-deaths',
  'api-outage',
];

/** A fresh checkout knows no durations, and the size of a file says little of them. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const at = LONGEST.findIndex((name) => moduleId.endsWith(`/${name}.spec.ts`));
      return at === -1 ? LONGEST.length : at;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

interface Needs {
  /** A Redis server: unpacked once if none is installed. */
  redis?: true;
  /** The compiled apps, because the tests start them. */
  build?: true;
  /** Files at a time; two where not said: most wait for others, and two cores are what every machine has. */
  atOnce?: number;
  /** False: files share the modules of their process. Most of the time of small ones is the import, again and again. */
  isolate?: false;
}

const project = (name: string, include: string[], timeoutMs: number, needs: Needs = {}) => ({
  resolve: { alias },
  test: {
    name,
    include,
    testTimeout: timeoutMs,
    hookTimeout: timeoutMs,
    pool: 'forks' as const,
    fileParallelism: needs.atOnce !== 1,
    maxWorkers: needs.atOnce ?? 2,
    isolate: needs.isolate ?? true,
    // Projects that run together must have the same number at once: others run one after the other.
    sequence: { groupOrder: needs.atOnce ?? 2 },
    globalSetup: [
      ...(needs.redis ? ['test/setup/redis.setup.ts'] : []),
      ...(needs.build ? ['test/setup/build.setup.ts'] : []),
    ],
  },
});

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      project('unit', ['{libs,apps,examples}/*/src/**/*.spec.ts', 'test/unit/**/*.spec.ts'], 20_000, {
        isolate: false,
      }),
      project('redis', ['test/redis/**/*.spec.ts'], 30_000, { redis: true }),
      project('native', ['test/native/**/*.spec.ts'], 60_000, { build: true }),
      project('e2e', ['test/e2e/**/*.spec.ts'], 180_000, { redis: true, build: true }),
      project('chaos', ['test/chaos/**/*.spec.ts'], 180_000, { redis: true, build: true, atOnce: 1 }),
      project('soak', ['test/soak/**/*.spec.ts'], 180_000, { redis: true, build: true, atOnce: 1 }),
      project('fuzz', ['test/fuzz/**/*.spec.ts'], 300_000, { redis: true, build: true }),
      project('gpu', ['test/gpu/**/*.spec.ts'], 300_000, { redis: true, build: true, atOnce: 1 }),
    ],
  },
});
