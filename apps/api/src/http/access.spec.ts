import { createHash } from 'node:crypto';
import { WarmlaneError } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { accessOf, KeyRing } from './access.js';

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
const ring = new KeyRing([
  { id: 'app', role: 'infer', sha256: sha256('app-key') },
  { id: 'ops', role: 'admin', sha256: sha256('ops-key') },
]);

function code(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof WarmlaneError) return error.code;
    throw error;
  }
  return 'admitted';
}

describe('accessOf', () => {
  it.each([
    ['GET', '/health/live', 'open'],
    ['GET', '/v2/health/ready', 'open'],
    ['GET', '/v2', 'infer'],
    ['GET', '/v2/models/:model/config', 'infer'],
    ['POST', '/v2/models/:model/infer', 'infer'],
    ['POST', '/v2/models/:model/versions/:version/infer', 'infer'],
    ['POST', '/v2/repository/index', 'infer'],
    ['POST', '/v2/repository/models/:model/load', 'admin'],
    ['POST', '/v2/repository/models/:model/unload', 'admin'],
    ['POST', '/v2/logging', 'admin'],
    ['POST', '/v1/models/:model/versions/:version/infer', 'infer'],
    ['GET', '/v1/inferences/:id', 'infer'],
    ['GET', '/v1/models', 'admin'],
    ['POST', '/v1/models/:model/versions/:version/warmups', 'admin'],
    ['POST', '/v1/lanes/:id/evict', 'admin'],
    ['GET', '/docs', 'infer'],
    ['GET', '/something/new', 'admin'],
  ])('%s %s asks for %s', (method, route, access) => {
    expect(accessOf(method, route, true)).toBe(access);
  });

  it('opens /metrics on loopback alone', () => {
    expect(accessOf('GET', '/metrics', true)).toBe('open');
    expect(accessOf('GET', '/metrics', false)).toBe('admin');
  });
});

describe('KeyRing', () => {
  it('tells callers apart by their keys', () => {
    expect(ring.admit('Bearer app-key', 'infer')).toEqual({ id: 'app', role: 'infer' });
    expect(ring.admit('bearer  ops-key ', 'infer')).toEqual({ id: 'ops', role: 'admin' });
    expect(ring.admit('Bearer ops-key', 'admin').id).toBe('ops');
  });

  it('answers unauthorized without a known key, forbidden for the wrong role', () => {
    expect(code(() => ring.admit(undefined, 'infer'))).toBe('unauthorized');
    expect(code(() => ring.admit('Bearer nonsense', 'infer'))).toBe('unauthorized');
    expect(code(() => ring.admit('Basic app-key', 'infer'))).toBe('unauthorized');
    expect(code(() => ring.admit(`Bearer ${sha256('app-key')}`, 'infer'))).toBe('unauthorized');
    expect(code(() => ring.admit('Bearer app-key', 'admin'))).toBe('forbidden');
  });

  it('lets everybody through open routes, and everywhere where no keys are set', () => {
    expect(ring.admit(undefined, 'open').role).toBe('admin');
    expect(new KeyRing([]).admit(undefined, 'admin')).toEqual({ id: '', role: 'admin' });
  });
});
