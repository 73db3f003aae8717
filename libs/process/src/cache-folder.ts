import { join } from 'node:path';

/** Where this user's downloads are kept between runs and checkouts: `$XDG_CACHE_HOME/warmlane`, else `~/.cache/warmlane`. */
export function cacheFolder(xdgCacheHome: string | undefined, home: string): string {
  const base = xdgCacheHome?.startsWith('/') ? xdgCacheHome : join(home, '.cache');
  return join(base, 'warmlane');
}
