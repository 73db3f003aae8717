import { describe, expect, it } from 'vitest';
import { environmentDigest, slotBaseOf } from './identity/environment.js';
import { parseWorkerConfig } from './worker.config.js';

describe('parseWorkerConfig', () => {
  it('has a default for everything but Redis; an empty variable counts as absent', () => {
    const env = { WARMLANE_REDIS: 'redis://h:1', WARMLANE_BLOB_REDIS: '', WARMLANE_DEVICE: '', PATH: '/bin' };
    expect(parseWorkerConfig(env)).toEqual({
      redisUrl: 'redis://h:1',
      blobRedisUrl: 'redis://h:1',
      models: './models',
      data: './.warmlane',
      device: 'auto',
      memoryBytes: null,
      runLimitMs: 30_000,
      cold: 'auto',
      tuneBudgetMs: 900_000,
      tuneCandidateMs: 120_000,
      sharedMemory: { dir: '/dev/shm', limitBytes: null },
      logLevel: 'info',
      lifelineFd: null,
      ortLibDir: null,
      env,
    });
  });

  it('reads sizes, devices and descriptors', () => {
    const base = { WARMLANE_REDIS: 'redis://h:1' };
    expect(parseWorkerConfig({ ...base, WARMLANE_GPU_MEMORY: '2GiB', WARMLANE_LIFELINE_FD: '3' })).toMatchObject({
      memoryBytes: 2 ** 31,
      lifelineFd: 3,
    });
    const shared = { WARMLANE_SHM_DIR: '/run/shm', WARMLANE_SHM_LIMIT: '16MiB' };
    expect(parseWorkerConfig({ ...base, ...shared }).sharedMemory).toEqual({ dir: '/run/shm', limitBytes: 2 ** 24 });
    expect(parseWorkerConfig({ ...base, WARMLANE_SHM_LIMIT: '0' }).sharedMemory.limitBytes).toBe(0);
    for (const device of [
      'cpu',
      'cuda:1',
      'GPU-0a1b2c3d-0000-0000-0000-000000000000',
      'MIG-0a1b2c3d-0000-0000-0000-000000000000',
    ]) {
      expect(parseWorkerConfig({ ...base, WARMLANE_DEVICE: device }).device).toBe(device);
    }
  });

  it('names every variable that is wrong', () => {
    const read = () =>
      parseWorkerConfig({
        WARMLANE_DEVICE: 'gpu',
        WARMLANE_GPU_MEMORY: 'lots',
        WARMLANE_LOG_LEVEL: 'loud',
        WARMLANE_COLD: 'cuda',
      });
    for (const name of ['REDIS', 'DEVICE', 'GPU_MEMORY', 'LOG_LEVEL', 'COLD'].map((last) => `WARMLANE_${last}`)) {
      expect(read).toThrow(name);
    }
  });
});

describe('identity', () => {
  it('is made of what an id may hold', () => {
    expect(slotBaseOf('a.b-c', 'cpu')).toBe('a.b-c-cpu');
    expect(slotBaseOf('host name:1', 'GPU-1/2')).toBe('host_name_1-GPU-1_2');
    expect(slotBaseOf('h'.repeat(300), 'd'.repeat(300)).length).toBeLessThanOrEqual(121);
  });

  it('has the same environment whatever the order of its facts', () => {
    expect(environmentDigest({ a: '1', b: '2' })).toBe(environmentDigest({ b: '2', a: '1' }));
    expect(environmentDigest({ a: '1', b: '2' })).not.toBe(environmentDigest({ a: '1', b: '3' }));
  });
});
