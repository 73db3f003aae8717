import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { KEY_TABLE, type KeyKind } from './key-table.js';
import { keys, NOTICES_CHANNEL, PREFIX, parseKey } from './keys.js';
import { INFERENCE_QUEUE, WARM_MODEL_QUEUE, WARMUP_QUEUE } from './queue-names.js';

const CLASS = 'x:float32[b,3,48,320]';

describe('keys', () => {
  it('makes these texts, which outside programs and old data rely on', () => {
    expect({
      blob: keys.blob('0af3'),
      piece: keys.blobPiece('0af3', 2),
      reply: keys.reply('r1'),
      replies: keys.replies('api-1'),
      model: keys.model('pp.rec', '3'),
      plan: keys.plan('pp.rec', '3'),
      holders: keys.holders('pp.rec', '3', CLASS),
      alive: keys.alive('host-cpu-0'),
      present: keys.present('host-cpu-0'),
      epoch: keys.epoch('host-cpu-0'),
      lane: keys.lane('77'),
      warmUp: keys.warmUp('ab'),
      channel: NOTICES_CHANNEL,
    }).toEqual({
      blob: '{wl}:blob:0af3',
      piece: '{wl}:blob:0af3:2',
      reply: '{wl}:reply:r1',
      replies: '{wl}:replies:api-1',
      model: '{wl}:model:pp.rec:3',
      plan: '{wl}:plan:pp.rec:3',
      holders: '{wl}:holders:pp.rec:3:x%3Afloat32%5Bb%2C3%2C48%2C320%5D',
      alive: '{wl}:alive:host-cpu-0',
      present: '{wl}:present:host-cpu-0',
      epoch: '{wl}:epoch:host-cpu-0',
      lane: '{wl}:lane:77',
      warmUp: '{wl}:warm-up:ab',
      channel: '{wl}:notices',
    });
  });

  it('parses what it makes, whatever the parts hold', () => {
    const parts = ['a:b', 'c %;[]/,', 'é\n%3A', 'd'];
    const seen = new Set<KeyKind>();
    for (const produce of Object.values(keys) as ((...given: string[]) => string)[]) {
      const key = produce(...parts.slice(0, produce.length));
      const parsed = parseKey(key);
      expect(parsed?.parts, key).toEqual(parts.slice(0, produce.length));
      expect(key.startsWith(`${PREFIX}:`)).toBe(true);
      if (parsed !== null) seen.add(parsed.kind);
    }
    expect(Array.from(seen).sort()).toEqual(Object.keys(KEY_TABLE).sort());
  });

  it('refuses what it does not make', () => {
    for (const text of [
      '',
      'lane:1',
      '{wl}',
      '{wl}:lane',
      '{wl}:lane:',
      '{wl}:lane:1:2',
      '{wl}:lane:a%',
      '{wl}:lane:%41',
      '{wl}:nothing:1',
      '{wl}:blob:1:2:3',
      '{wl}:inference:1',
    ]) {
      expect(parseKey(text), text).toBeNull();
    }
  });

  it('shares no name with a queue, whose keys BullMQ makes under the same prefix', () => {
    for (const queue of [INFERENCE_QUEUE, WARMUP_QUEUE, WARM_MODEL_QUEUE, 'run', 'cold', 'warm-lane']) {
      expect(Object.keys(KEY_TABLE)).not.toContain(queue);
    }
  });
});

/** docs/redis-keys.md holds exactly this between its markers. */
function printTable(): string {
  const rows = Object.entries(KEY_TABLE).map(([kind, facts]) => {
    const names = facts.parts.map((part, n) => {
      const text = `:<${part}>`;
      return n >= facts.parts.length - (facts.optional ?? 0) ? `[${text}]` : text;
    });
    const cells = [`\`{wl}:${kind}${names.join('')}\``, facts.type, facts.owner, facts.holds, facts.bound, facts.ttl];
    return `| ${cells.join(' | ')} |`;
  });
  const head = '| key | type | owner | holds | bound | time to live |\n|---|---|---|---|---|---|';
  return `${head}\n${rows.join('\n')}`;
}

describe('docs/redis-keys.md', () => {
  it('lists every key as the code knows it', () => {
    const path = new URL('../../../docs/redis-keys.md', import.meta.url);
    const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
    const table = /<!-- keys -->\s*([\s\S]*?)\s*<!-- \/keys -->/.exec(text)?.[1];
    const cells = (markdown: string): string[][] =>
      markdown.split('\n').map((row) => row.split('|').map((cell) => cell.trim().replace(/^-+$/, '---')));
    expect(cells(table ?? ''), `Put this between the markers of docs/redis-keys.md:\n${printTable()}`).toEqual(
      cells(printTable()),
    );
  });
});
