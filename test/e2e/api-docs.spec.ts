import { describe, expect, it } from 'vitest';
import { ApiProcess } from './api-process.fixture.js';
import { json, send } from './protocol-client.fixture.js';

interface Document {
  openapi: string;
  paths: Record<string, Record<string, { requestBody?: unknown; parameters?: { name: string; in: string }[] }>>;
}

describe('/docs', () => {
  it('describes every route, also without Redis', async () => {
    await using api = await ApiProcess.start({ WARMLANE_REDIS: 'redis://127.0.0.1:1' });
    const page = await send(`${api.url}/docs`);
    expect(page.status).toBe(200);
    expect(page.headers['content-type']).toContain('text/html');
    expect((await send(`${api.url}/docs/swagger-ui-bundle.js`)).status).toBe(200);
    const document = json<unknown>(await send(`${api.url}/docs-json`)) as Document;
    expect(document.openapi).toMatch(/^3\./);
    const infer = document.paths['/v2/models/{model}/infer']?.post;
    expect(infer?.requestBody).toMatchObject({ content: { 'application/octet-stream': {} } });
    expect(infer?.parameters?.map((parameter) => parameter.name)).toContain('warmlane-deadline-ms');
    expect(document.paths['/v1/lanes']?.get?.parameters?.map((parameter) => parameter.name)).toEqual(
      expect.arrayContaining(['model', 'state', 'worker']),
    );
  });

  it('tells the forms of bodies, answers and errors', async () => {
    await using api = await ApiProcess.start({ WARMLANE_REDIS: 'redis://127.0.0.1:1' });
    const { paths } = json<unknown>(await send(`${api.url}/docs-json`)) as Document;
    const warmups = paths['/v1/models/{model}/versions/{version}/warmups']?.post;
    expect(JSON.stringify(warmups?.requestBody)).toContain('"deadlineMs"');
    expect(JSON.stringify(paths['/v1/lanes']?.get)).toContain('"steadyP50Ms"');
    expect(JSON.stringify(paths['/v1/warmups/{id}']?.get)).toContain('"canceled"');
    expect(JSON.stringify(paths['/v1/models']?.get)).toContain('"retryable"');
    expect(paths['/v2/logging']).toBeUndefined();
  });

  it('/metrics counts requests by how they were served', async () => {
    await using api = await ApiProcess.start({ WARMLANE_REDIS: 'redis://127.0.0.1:1' });
    await send(`${api.url}/v2/models/x/infer`, { body: '{"inputs":[]}' });
    const text = (await send(`${api.url}/metrics`)).body.toString();
    expect(text).toContain('warmlane_requests_total{served="failed",role="api"} 1');
    expect(text).toContain('warmlane_request_failures_total{code="redis-away",role="api"} 1');
    expect(text).toMatch(
      /warmlane_http_request_duration_seconds_count\{role="api",method="POST",route="\/v2\/models\/:model\/infer",status="503"\} 1/,
    );
    expect(text).toContain('warmlane_redis_up{role="api"} 0');
    expect(text).toContain('process_resident_memory_bytes');
  });
});
