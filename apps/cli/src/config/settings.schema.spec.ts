import { tmpdir } from 'node:os';
import { SetupError } from '@warmlane/process';
import { describe, expect, it } from 'vitest';
import { type Flags, hidePassword, readSettings } from './settings.schema.js';

const cwd = tmpdir();
const key = `ci:admin:${'a'.repeat(64)}`;
const read = (flags: Flags, env: NodeJS.ProcessEnv = {}) => readSettings(flags, env, cwd);

describe('readSettings', () => {
  it('has the documented defaults, folders made absolute', () => {
    expect(read({})).toEqual({
      models: `${cwd}/models`,
      http: { host: '127.0.0.1', port: 8000 },
      device: 'auto',
      workers: 1,
      data: `${cwd}/.warmlane`,
      apiKeys: '',
      logLevel: 'info',
    });
  });

  it('lets a flag win over the environment, and takes an empty variable for none', () => {
    const env = { WARMLANE_HTTP: '127.0.0.1:9', WARMLANE_DEVICE: 'cpu', WARMLANE_REDIS: '', WARMLANE_WORKERS: '3' };
    expect(read({ http: 'localhost:7' }, env)).toMatchObject({
      http: { host: 'localhost', port: 7 },
      device: 'cpu',
      workers: 3,
    });
    expect(read({}, env).redis).toBeUndefined();
  });

  it.each([
    [{ device: 'cuda:0' }],
    [{ device: 'GPU-0f5d3e2a-1111-2222-3333-444455556666' }],
    [{ device: 'MIG-0f5d3e2a-1111-2222-3333-444455556666' }],
    [{ device: 'MIG-GPU-0f5d3e2a-1111-2222-3333-444455556666/3/0' }],
    [{ http: '[::1]:8000' }],
    [{ workers: '64', device: 'cpu' }],
    [{ redis: 'rediss://user:secret@host:6380/2' }],
    [{ models: tmpdir() }],
  ] satisfies [Flags][])('accepts %j', (flags) => {
    expect(() => read(flags)).not.toThrow();
  });

  it.each([
    [{ http: '8000' }, /--http \(WARMLANE_HTTP\) '8000' is not HOST:PORT/],
    [{ http: '127.0.0.1:70000' }, /is not HOST:PORT/],
    [{ http: '[127.0.0.1]:80' }, /is not HOST:PORT/],
    [{ device: 'gpu' }, /is none of auto, cpu, cuda:N/],
    [{ device: 'cuda:-1' }, /is none of/],
    [{ workers: '0' }, /is not from 1 to 64/],
    [{ workers: '65' }, /is not from 1 to 64/],
    [{ workers: '1.5' }, /is not a number from 1 to 64/],
    [{ redis: 'localhost:6379' }, /is not a redis:\/\/HOST:PORT URL/],
    [{ redis: 'http://localhost' }, /is not a redis:\/\/HOST:PORT URL/],
    [{ workers: '2', device: 'cuda:0' }, /a GPU has one worker/],
    [{ models: '/no/such/folder' }, /--models \(WARMLANE_MODELS\) \/no\/such\/folder does not exist: name the folder/],
    [{ models: '/etc/passwd' }, /\/etc\/passwd is a file, not a folder/],
    [{ gpuMemory: '20GB' }, /is not a size such as 20GiB/],
  ] satisfies [Flags, RegExp][])('refuses %j', (flags, message) => {
    expect(() => read(flags)).toThrow(SetupError);
    expect(() => read(flags)).toThrow(message);
  });

  it('refuses an address that others reach without keys, and says how to make one', () => {
    for (const host of ['0.0.0.0', '[::]', '192.168.1.5', 'example.org', '127.example.org']) {
      expect(() => read({ http: `${host}:8000` })).toThrow(/without a key.*sha256sum/);
      expect(read({ http: `${host}:8000` }, { WARMLANE_API_KEYS: key }).http.port).toBe(8000);
    }
    expect(() => read({ http: '127.8.0.1:8000' })).not.toThrow();
  });

  it('names every mistake at once and shows no secret', () => {
    const env = { WARMLANE_API_KEYS: 'my-secret', WARMLANE_LOG_LEVEL: 'loud', WARMLANE_REDIS: 'http://u:secret@h' };
    let message = '';
    try {
      read({}, env);
    } catch (error) {
      message = error instanceof Error ? error.message : '';
    }
    expect(message.split('\n')).toHaveLength(3);
    expect(message).not.toContain('secret');
  });

  it('hides a password in an URL', () => {
    expect(hidePassword('redis://u:p@h:1')).toBe('redis://u:***@h:1');
    expect(hidePassword('redis://:p@h')).toBe('redis://:***@h');
    expect(hidePassword('redis://h:1')).toBe('redis://h:1');
  });
});
