import { describe, expect, it } from 'vitest';
import { ConfigError, parseConfig } from './api.config.js';

const digest = 'ab'.repeat(32);

describe('parseConfig', () => {
  it('has defaults for everything', () => {
    expect(parseConfig({ WARMLANE_REDIS: '', PATH: '/bin' })).toEqual({
      http: { host: '127.0.0.1', port: 8000, loopback: true },
      redisUrl: 'redis://127.0.0.1:6379',
      blobRedisUrl: 'redis://127.0.0.1:6379',
      keys: [],
      logLevel: 'info',
      lifelineFd: null,
      bodyLimitBytes: 64 * 2 ** 20,
      bodiesInFlightBytes: 512 * 2 ** 20,
      classLimit: { jobs: 5_000, bytes: 512 * 2 ** 20 },
      sharedMemory: { dir: '/dev/shm', limitBytes: null },
    });
  });

  it('keeps blobs in the same Redis unless told otherwise', () => {
    const config = parseConfig({
      WARMLANE_REDIS: 'redis://a:1',
      WARMLANE_BLOB_REDIS: 'redis://b:2',
      WARMLANE_LIFELINE_FD: '3',
    });
    expect(config).toMatchObject({ redisUrl: 'redis://a:1', blobRedisUrl: 'redis://b:2', lifelineFd: 3 });
    expect(parseConfig({ WARMLANE_REDIS: 'redis://a:1' }).blobRedisUrl).toBe('redis://a:1');
  });

  it.each([
    ['127.0.0.1:8000', '127.0.0.1', true],
    ['127.8.1.2:0', '127.8.1.2', true],
    ['[::1]:80', '::1', true],
    ['localhost:80', 'localhost', true],
    ['0.0.0.0:80', '0.0.0.0', false],
    ['[::]:80', '::', false],
    ['gpu-host.example:80', 'gpu-host.example', false],
    ['127.0.0.1.example.com:80', '127.0.0.1.example.com', false],
  ])('reads the address %s', (text, host, loopback) => {
    const keys = `ci:admin:${digest}`;
    expect(parseConfig({ WARMLANE_HTTP: text, WARMLANE_API_KEYS: keys }).http).toMatchObject({ host, loopback });
    if (!loopback) expect(() => parseConfig({ WARMLANE_HTTP: text })).toThrow(/no API keys.*bind to 127\.0\.0\.1/);
  });

  it.each([
    [{ WARMLANE_HTTP: '8000' }, /WARMLANE_HTTP: '8000' is not HOST:PORT/],
    [{ WARMLANE_HTTP: '127.0.0.1:99999' }, /is not HOST:PORT/],
    [{ WARMLANE_HTTP: '::1:80' }, /is not HOST:PORT/],
    [{ WARMLANE_LOG_LEVEL: 'loud' }, /WARMLANE_LOG_LEVEL/],
    [{ WARMLANE_LIFELINE_FD: '1' }, /WARMLANE_LIFELINE_FD/],
    [{ WARMLANE_BODY_LIMIT: '64MB' }, /WARMLANE_BODY_LIMIT: must be a size such as 64MiB/],
    [{ WARMLANE_BODY_LIMIT: '1GiB' }, /WARMLANE_BODIES_IN_FLIGHT: must be at least/],
    [{ WARMLANE_SHM_DIR: 'shm' }, /WARMLANE_SHM_DIR: must be an absolute path/],
    [{ WARMLANE_SHM_LIMIT: '1GB' }, /WARMLANE_SHM_LIMIT: must be a size such as 256MiB, or 0/],
    [{ WARMLANE_API_KEYS: 'x' }, /WARMLANE_API_KEYS: API key 1 is not id:role:sha256-hex/],
  ])('refuses %j', (environment, message) => {
    expect(() => parseConfig(environment)).toThrow(message);
    expect(() => parseConfig(environment)).toThrow(ConfigError);
  });
});
