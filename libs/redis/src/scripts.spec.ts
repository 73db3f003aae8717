import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { luaFiles } from './scripts.js';

const source = readdirSync(new URL('./', import.meta.url))
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.spec.ts'))
  .map((file) => readFileSync(new URL(file, import.meta.url), 'utf8'))
  .join('\n');

describe('Lua files', () => {
  it('are all used, and every used one is there', () => {
    const called = Array.from(source.matchAll(/'([a-z]+[A-Z][A-Za-z]*|heartbeat)'/g), ([, name]) => name);
    for (const name of luaFiles().keys()) expect(called, name).toContain(name);
  });

  it('use exactly the keys that their name counts, and say what they do', () => {
    for (const [name, { lua, keyCount }] of luaFiles()) {
      const used = Array.from(lua.matchAll(/KEYS\[([0-9]+)\]/g), ([, n]) => Number(n));
      if (keyCount !== null) expect(Math.max(...used), name).toBe(keyCount);
      expect(lua.startsWith('--[[\n'), name).toBe(true);
      expect(lua, name).toMatch(/KEYS\[1[\]\]. ]/);
      expect(lua, name).toMatch(/Returns/);
    }
  });
});
