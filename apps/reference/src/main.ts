import { parseArgs } from 'node:util';
import type { ReferenceHello, ReferenceMethods } from '@warmlane/contracts';
import { parentChannel } from '@warmlane/ipc';
import { createLogger, LOG_LEVELS } from '@warmlane/observability';
import { dieWithLifeline } from '@warmlane/process';
import { env } from 'onnxruntime-node';
import { ModelStore } from './model-store.js';
import { ReferenceCache } from './reference-cache.js';

/** Started by a worker as `main.js reference|fallback --references DIR --references-bytes N --log-level LEVEL`. */
function main(): void {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      references: { type: 'string' },
      'references-bytes': { type: 'string' },
      'log-level': { type: 'string' },
    },
  });
  const role: ReferenceHello['role'] = positionals[0] === 'fallback' ? 'fallback' : 'reference';
  process.title = `warmlane ${role}`;
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => undefined);
  dieWithLifeline();

  const level = LOG_LEVELS.find((name) => name === values['log-level']) ?? 'info';
  const logger = createLogger({ role, level });
  const folder = role === 'reference' ? values.references : undefined;
  const cache =
    folder === undefined
      ? null
      : new ReferenceCache(folder, Number(values['references-bytes'] ?? 2 ** 31), (message) => logger.warn(message));
  const store = new ModelStore(role, cache);
  const channel = parentChannel<ReferenceMethods, { hello: ReferenceHello }>();
  channel.handle('model.load', ({ path, digest }) => store.load(path, digest));
  channel.handle('model.unload', async ({ digest }) => {
    await store.unload(digest);
    return {};
  });
  channel.handle('model.run', (params) => store.run(params));
  channel.handle('close', () => {
    setImmediate(() => void channel.flush().then(() => process.exit(0)));
    return {};
  });
  channel.onClose(() => process.exit(0));
  channel.emit('hello', { pid: process.pid, role, ortVersion: env.versions.node ?? 'unknown' });
}

main();
