import { describe, expect, it } from 'vitest';
import { Metrics } from './metrics.js';

describe('Metrics', () => {
  it('keeps to its own registry and labels every series with the role', async () => {
    const metrics = new Metrics('api');
    const other = new Metrics('worker');
    const requests = metrics.counter({ name: 'warmlane_requests_total', help: 'Requests.', labels: ['served'] });
    requests.inc({ served: 'ready' });
    const duration = metrics.duration({ name: 'warmlane_request_duration_seconds', help: 'Durations.' });
    duration.observe(0.002);
    metrics.gauge({ name: 'warmlane_workers', help: 'Live workers.', collect: (gauge) => gauge.set(3) });
    const text = await metrics.text();
    expect(text).toContain('warmlane_requests_total{served="ready",role="api"} 1');
    expect(text).toContain('warmlane_request_duration_seconds_bucket{le="0.0025",role="api"} 1');
    expect(text).toContain('warmlane_workers{role="api"} 3');
    expect(text).toContain('process_cpu_seconds_total');
    expect(await other.text()).not.toContain('warmlane_requests_total');
    expect(metrics.contentType).toContain('text/plain');
  });
});
