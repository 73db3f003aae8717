import { closeSync, openSync, writeSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { parseShapeKey, type WarmupView } from '@warmlane/contracts';
import { finish, makeSamples } from '@warmlane/lanes';
import { findNvidiaDevices, printAddress, RedisServer, SetupError } from '@warmlane/process';
import { readSettings } from '../config/settings.schema.js';
import { probeOrt } from '../doctor/probe-ort.js';
import { appMain, projectRoot } from '../project-paths.js';
import { findRedis } from '../serve/own-redis.js';
import { Serve } from '../serve/serve.js';
import { plainRevisits, referenceAnswers } from './child-runs.js';
import { chooseProvider } from './choose-provider.js';
import { DEMO_MODELS, type DemoShape, mixRequests } from './demo-plan.js';
import { type PlacedModel, writeDemoRepository } from './demo-repository.js';
import type { DemoFacts } from './demo-result.js';
import type { Progress } from './progress.js';
import { sendRequests } from './send-requests.js';
import { WarmlaneClient } from './warmlane-client.js';

const REQUESTS = 300;
const IN_FLIGHT = 4;
const START_LIMIT_MS = 120_000;
/** Where the model's own lanes give none: float32 against the reference on the CPU. */
const DEFAULT_TOLERANCE = 1e-4;

/** Where the processes of the demo write their logs. */
export const demoLogPath = join(projectRoot, '.cache', 'demo.log');

export interface DemoOptions {
  env: NodeJS.ProcessEnv;
  progress: Progress;
  /** Ends the demo in order. */
  signal: AbortSignal;
}

/** Warms the demo's shapes, sends its requests, checks every answer. Leaves nothing behind but its log. */
export async function runDemo(options: DemoOptions): Promise<DemoFacts> {
  await mkdir(join(projectRoot, '.cache'), { recursive: true });
  const folder = await mkdtemp(join(tmpdir(), 'warmlane-demo-'));
  await rm(demoLogPath, { force: true });
  // One descriptor for us and the children, and append mode: nobody writes over another's line.
  const logFd = openSync(demoLogPath, 'a');
  try {
    return await inFolder(folder, options, logFd);
  } finally {
    closeSync(logFd);
    await rm(folder, { recursive: true, force: true });
  }
}

async function inFolder(folder: string, options: DemoOptions, logFd: number): Promise<DemoFacts> {
  const { env, progress, signal } = options;
  const { provider, reason } = chooseProvider(await findNvidiaDevices(), await probeOrt(env.ORT_LIB_DIR));
  progress.say(`provider: ${reason}`);
  const models = await writeDemoRepository(join(folder, 'models'), DEMO_MODELS, provider);
  const shapes = await makeShapes(models, env, progress);

  await using redis = await startRedis(env, progress);
  const redisUrl = redis?.url ?? env.WARMLANE_REDIS;
  const settings = readSettings(
    {
      models: join(folder, 'models'),
      http: '127.0.0.1:0',
      device: provider === 'cpu' ? 'cpu' : 'cuda:0',
      redis: redisUrl,
    },
    { WARMLANE_DATA: join(folder, 'data'), ORT_LIB_DIR: env.ORT_LIB_DIR, WARMLANE_LOG_LEVEL: env.WARMLANE_LOG_LEVEL },
    folder,
  );
  let onReady: (url: string) => void = () => undefined;
  const ready = new Promise<string>((resolve) => {
    onReady = resolve;
  });
  const serve = new Serve({
    settings,
    env,
    log: (text) => writeSync(logFd, `${text}\n`),
    logFd,
    appMain,
    onReady: (address) => onReady(`http://${printAddress(address)}`),
  });
  const onAbort = (): void => serve.stop();
  signal.addEventListener('abort', onAbort);
  const served = serve.run();
  const ended = served.then(() => Promise.reject(signal.reason ?? new Error('the server ended by itself')));
  try {
    const late = wait(START_LIMIT_MS, undefined, { ref: false }).then(() =>
      Promise.reject(new SetupError(`the API did not answer within ${START_LIMIT_MS / 1_000} s`)),
    );
    late.catch(() => undefined);
    const server = await Promise.race([ready, ended, late]);
    progress.say(`serving on ${server}`);
    return await Promise.race([warmAndSend({ server, provider, reason, models, shapes, options }), ended]);
  } finally {
    signal.removeEventListener('abort', onAbort);
    serve.stop();
    await served.catch(() => undefined);
    await ended.catch(() => undefined);
  }
}

interface Running {
  server: string;
  provider: 'cpu' | 'cuda';
  reason: string;
  models: readonly PlacedModel[];
  shapes: readonly DemoShape[];
  options: DemoOptions;
}

async function warmAndSend(running: Running): Promise<DemoFacts> {
  const { server, provider, reason, models, shapes, options } = running;
  const { progress, env, signal } = options;
  const client = new WarmlaneClient(server, signal);
  await Promise.all(models.map(({ model }) => client.untilLoaded(model.name)));
  progress.say('models loaded, warming up');
  await Promise.all(models.map(({ model }) => client.warmUp(model.name, warmUpReport(model.name, progress))));
  const lanes = (await Promise.all(models.map(({ model }) => client.lanes(model.name)))).flat();

  const plainRevisitMs = await plainRevisits(models, shapes, provider, env, (done, total) =>
    progress.count('a plain session, all shapes in turn: round', done, total),
  );
  const served = await sendRequests({
    url: server,
    shapes,
    requests: mixRequests(shapes, REQUESTS),
    inFlight: IN_FLIGHT,
    toleranceOf: (model) => {
      const records = lanes.flatMap((lane) => (lane.model === model && lane.record !== null ? [lane.record] : []));
      return records[0]?.tolerance ?? DEFAULT_TOLERANCE;
    },
    report: (done) => progress.count('requests answered and checked', done, REQUESTS),
    complain: (text) => progress.say(`WRONG: ${text}`),
    signal,
  });
  signal.throwIfAborted();
  return { provider, providerReason: reason, shapes, lanes, plainRevisitMs, served };
}

/** Says each lane once when it is READY or FAILED. */
function warmUpReport(model: string, progress: Progress): (view: WarmupView) => void {
  const told = new Set<string>();
  return (view) => {
    for (const lane of view.lanes) {
      if ((lane.state === 'READY' || lane.state === 'FAILED') && !told.has(lane.shapeKey)) {
        told.add(lane.shapeKey);
        const why = lane.state === 'FAILED' ? `: ${lane.reason}` : '';
        progress.say(`${model} ${lane.shapeKey} ${lane.state} (${told.size} of ${view.total})${why}`);
      }
    }
  };
}

/** Two random samples for each shape, with the reference's answers. */
async function makeShapes(
  models: readonly PlacedModel[],
  env: NodeJS.ProcessEnv,
  progress: Progress,
): Promise<DemoShape[]> {
  const wanted = models.flatMap(({ model, digest }) =>
    [...model.named, ...model.unnamed].map((shapeKey, at) => {
      const source = {
        digest: `demo-${digest}`,
        inputs: { x: { random: model.random } },
        files: new Map(),
      };
      const { samples } = finish(makeSamples(parseShapeKey(shapeKey), source));
      return { model: model.name, shapeKey, named: at < model.named.length, samples };
    }),
  );
  const runs = wanted.flatMap(({ model, samples }) => samples.map(({ inputs }) => ({ model, inputs })));
  const answers = await referenceAnswers(models, runs, env, (done, total) =>
    progress.count('answers of the reference process', done, total),
  );
  let next = 0;
  return wanted.map((shape) => ({
    ...shape,
    samples: shape.samples.map(({ inputs }) => ({ inputs, expected: answers[next++] ?? [] })),
  }));
}

/** A Redis that keeps nothing, unless one is named. */
async function startRedis(env: NodeJS.ProcessEnv, progress: Progress): Promise<RedisServer | null> {
  if (env.WARMLANE_REDIS) {
    progress.say('using the Redis that WARMLANE_REDIS names');
    return null;
  }
  const binary = await findRedis(env, (text) => progress.say(text));
  const redis = await RedisServer.start({ binary, persistence: 'none' });
  progress.say(`${binary.name} ${binary.version} started on port ${redis.port}`);
  return redis;
}
