import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const alias = [
  {
    find: /^@warmlane\/([a-z]+)$/,
    replacement: `${fileURLToPath(new URL('./libs/', import.meta.url))}$1/src/index.ts`,
  },
];
const project = (name: string, include: string[], timeoutMs: number) => ({
  resolve: { alias },
  test: { name, include, testTimeout: timeoutMs, hookTimeout: timeoutMs, pool: 'forks' as const },
});

export default defineConfig({
  test: {
    projects: [
      project('unit', ['libs/*/src/**/*.spec.ts', 'apps/*/src/**/*.spec.ts'], 20_000),
      project('redis', ['test/redis/**/*.spec.ts'], 30_000),
      project('native', ['test/native/**/*.spec.ts'], 60_000),
      { ...project('e2e', ['test/e2e/**/*.spec.ts'], 120_000) },
      { ...project('chaos', ['test/chaos/**/*.spec.ts'], 180_000) },
      { ...project('gpu', ['test/gpu/**/*.spec.ts'], 300_000) },
    ],
  },
});
