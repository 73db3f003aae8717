/** Who may do what: `infer` reads and infers, `admin` may do all. */
export type ApiRole = 'infer' | 'admin';

/** One entry of `WARMLANE_API_KEYS`: the key itself is never kept, only its SHA-256. */
export interface ApiKey {
  id: string;
  role: ApiRole;
  /** 64 lower-case hex digits. */
  sha256: string;
}

/**
 * Reads `WARMLANE_API_KEYS`: `id:role:sha256-hex`, comma separated; an empty text has no keys.
 * @throws RangeError that names the entry by its place (never its text: it may be a pasted key) and what it should be
 */
export function parseApiKeys(text: string): ApiKey[] {
  const keys: ApiKey[] = [];
  for (const [index, entry] of text.split(',').entries()) {
    if (entry.trim() === '') continue;
    const [id = '', role, sha256 = '', ...rest] = entry.trim().split(':');
    if (rest.length > 0 || !/^[A-Za-z0-9._-]{1,64}$/.test(id) || !/^[0-9a-fA-F]{64}$/.test(sha256)) {
      throw new RangeError(
        `API key ${index + 1} is not id:role:sha256-hex (id of letters, digits, '.', '_' or '-'; ` +
          `the hex of \`printf %s KEY | sha256sum\`)`,
      );
    }
    if (role !== 'infer' && role !== 'admin') {
      throw new RangeError(`API key ${index + 1} (${id}) has a role that is neither infer nor admin`);
    }
    if (keys.some((key) => key.id === id)) {
      throw new RangeError(`API key ${index + 1} repeats the id ${id}: give each key its own`);
    }
    keys.push({ id, role, sha256: sha256.toLowerCase() });
  }
  return keys;
}
