import { startRedis } from '@warmlane/testing';
import { afterAll, beforeAll } from 'vitest';
import { ApiProcess } from './api-process.fixture.js';
import { FakeWorker } from './fake-worker.fixture.js';

type Redis = Awaited<ReturnType<typeof startRedis>>;

export interface ApiFixture {
  readonly redis: Redis;
  readonly worker: FakeWorker;
  readonly api: ApiProcess;
}

/** One Redis, one fake worker and one API process per file; `prepare` runs before the API starts. */
export function useApi(
  prepare: (worker: FakeWorker) => Promise<void>,
  environment: Record<string, string> = {},
): ApiFixture {
  const parts: { redis?: Redis; worker?: FakeWorker; api?: ApiProcess } = {};
  const get = <T>(part: T | undefined): T => {
    if (part === undefined) throw new Error('the fixture is filled in beforeAll; use it inside tests');
    return part;
  };
  beforeAll(async () => {
    parts.redis = await startRedis();
    parts.worker = await FakeWorker.start(parts.redis.url);
    await prepare(parts.worker);
    parts.api = await ApiProcess.start({ WARMLANE_REDIS: parts.redis.url, ...environment });
  });
  afterAll(async () => {
    await parts.api?.stop('SIGKILL');
    await parts.worker?.[Symbol.asyncDispose]();
    await parts.redis?.stop();
  });
  return {
    get redis() {
      return get(parts.redis);
    },
    get worker() {
      return get(parts.worker);
    },
    get api() {
      return get(parts.api);
    },
  };
}
