import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { ApiMetrics } from './api.metrics.js';

it('docs/metrics.md lists every metric of ours with its type', async () => {
  const metrics = new ApiMetrics();
  metrics.watch({ bytesInFlight: () => 0, stallMaxMs: () => 0, redisUp: () => true, sharedBytes: () => 0 });
  metrics.watchFleet({ lanes: () => Promise.resolve([]), workers: () => Promise.resolve([]) });
  const exposed = [...(await metrics.text()).matchAll(/^# TYPE (warmlane_\w+) (\w+)$/gm)].map(([, name, type]) => [
    name,
    type,
  ]);
  const text = readFileSync(new URL('../../../../docs/metrics.md', import.meta.url), 'utf8');
  const listed = [...text.matchAll(/^\| `(warmlane_\w+)` +\| (\w+) +\|/gm)].map(([, name, type]) => [name, type]);
  expect(listed.sort()).toEqual(exposed.sort());
});
