import { describe, expect, it } from 'vitest';
import { libraryDependencies } from './debian-package.js';
import { findRedisServer, isNewEnough, parseServerVersion } from './redis-finder.js';
import { SetupError } from './setup.error.js';

describe('findRedisServer', () => {
  it('reads the version that Redis and Valkey print', () => {
    expect(parseServerVersion('Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0')).toBe('7.0.15');
    expect(parseServerVersion('Valkey server v=8.0.1 sha=00000000:0 malloc=jemalloc-5.3.0')).toBe('8.0.1');
    expect(parseServerVersion('error while loading shared libraries: libjemalloc.so.2')).toBeNull();
  });

  it('accepts 6.2 and newer', () => {
    expect(['6.2.0', '7.0.15', '8.0.1', '10.1.0'].filter(isNewEnough)).toHaveLength(4);
    expect(['6.0.16', '5.0.14', '4.9.9'].filter(isNewEnough)).toHaveLength(0);
  });

  it('takes the libraries out of what apt-cache prints', () => {
    const printed = [
      'redis-tools',
      '  Depends: adduser',
      '  Depends: libatomic1',
      '  Depends: libc6',
      ' |Depends: libsystemd0',
      '    libelogind0',
      '  PreDepends: lua-cjson',
      '  Depends: <libvirtual>',
      '  Breaks: libother',
    ].join('\n');
    expect(libraryDependencies(printed)).toEqual(['libatomic1', 'libsystemd0', 'lua-cjson']);
  });

  it('names the command to run where there is none', async () => {
    const lookup = findRedisServer({ path: '/nonexistent', cacheDir: '/nonexistent', mayDownload: false });
    await expect(lookup).rejects.toThrow(SetupError);
    await expect(lookup).rejects.toThrow(/apt-get install redis-server/);
  });
});
