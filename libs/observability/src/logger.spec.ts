import { describe, expect, it } from 'vitest';
import { createLogger } from './logger.js';

describe('createLogger', () => {
  it('writes one JSON object a line with role, level name and ISO time', () => {
    const lines: string[] = [];
    const log = createLogger({ role: 'api', level: 'info', destination: { write: (line) => lines.push(line) } });
    log.debug('not asked for');
    log.warn({ model: 'rec' }, 'no worker');
    expect(lines).toHaveLength(1);
    const line = JSON.parse(lines[0] ?? '') as Record<string, unknown>;
    expect(line).toMatchObject({ role: 'api', level: 'warn', model: 'rec', msg: 'no worker', pid: process.pid });
    expect(new Date(String(line.time)).toISOString()).toBe(line.time);
  });
});
