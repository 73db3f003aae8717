import { type ModelDoc, modelConfigSchema } from '@warmlane/contracts';
import type { LoadOutcome } from '@warmlane/redis';
import { describe, expect, it } from 'vitest';
import { type LoadVerdict, loadVerdict } from './load-verdict.js';

const version = (state: ModelDoc['state']): ModelDoc => ({
  name: 'rec',
  version: '1',
  state,
  reason: '',
  digest: null,
  metadata: null,
  config: modelConfigSchema.parse({}),
  wasReady: false,
  retired: false,
  registeredAt: '',
});

describe('loadVerdict', () => {
  it.each<[string, (LoadOutcome | null)[], ModelDoc['state'][], LoadVerdict]>([
    ['nobody is there', [], ['LOADED'], 'nobody'],
    ['nobody has said anything', [null, null], [], 'asked'],
    ['one has it not, the other is silent', ['none', null], [], 'asked'],
    ['nobody has it', ['none', 'none'], [], 'unknown'],
    ['nobody has it any more, though it is registered', ['none'], ['LOADED'], 'unknown'],
    ['one reads a large one', ['none', 'found'], [], 'reading'],
    ['one reads it, and it stood as LOADED before', ['found'], ['LOADED'], 'reading'],
    ['all have it', ['done', 'none'], ['LOADED'], 'loaded'],
    ['one has it, another still reads', ['done', 'found'], ['LOADED'], 'loaded'],
    [
      'one has it, a newer version is registered and not there yet',
      ['done', 'found'],
      ['LOADED', 'LOADING'],
      'reading',
    ],
    ['it failed here, another still reads', ['done', 'found'], ['FAILED'], 'reading'],
    ['it failed everywhere', ['done', 'none'], ['FAILED'], 'failed'],
    ['an old version that is gone from the disk stays UNLOADED', ['done'], ['UNLOADED', 'LOADED'], 'loaded'],
  ])('%s', (_what, said, states, verdict) => {
    const workers = said.map((_outcome, n) => `w-${n}`);
    const answers = new Map(said.flatMap((outcome, n) => (outcome === null ? [] : [[`w-${n}`, outcome] as const])));
    expect(loadVerdict(workers, answers, states.map(version))).toBe(verdict);
  });
});
