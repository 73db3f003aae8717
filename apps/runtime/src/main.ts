import { setPriority } from 'node:os';
import { parseArgs } from 'node:util';
import {
  type ErrorBody,
  type ProviderName,
  RUNTIME_EXIT,
  type RuntimeHello,
  type RuntimeMethods,
  WarmlaneError,
} from '@warmlane/contracts';
import { type Channel, type HandleOptions, parentChannel } from '@warmlane/ipc';
import { OrtRuntime } from '@warmlane/ort';
import { dieWithLifeline } from '@warmlane/process';
import { cpuDevice, cudaDevice, type Device, findGpu } from './device.js';
import { lockDevice } from './device-lock.js';
import { libraryDigests } from './environment.js';
import { Gate } from './gate.js';
import { guarded } from './guard.js';
import { LaneTable } from './lane-table.js';
import { PlainSessions } from './plain-sessions.js';
import { dieWithParent } from './process-control.js';
import { RuntimeSlots } from './runtime-slots.js';
import { WeightStore } from './weight-store.js';

/** How much ONNX Runtime itself writes to stderr, by our level; else its errors only. */
const ORT_SEVERITY: Partial<Record<string, Start['logSeverity']>> = { trace: 0, debug: 2 };

type RuntimeChannel = Channel<RuntimeMethods, { hello: RuntimeHello; refused: ErrorBody }>;

/** What the process exits with when its channel closes. */
let exitCode = 0;

type Handler<K extends keyof RuntimeMethods> = (
  params: RuntimeMethods[K]['params'],
) => RuntimeMethods[K]['result'] | Promise<RuntimeMethods[K]['result']>;

/** What the arguments say. */
interface Start {
  provider: ProviderName;
  /** Where the locks of devices lie; null for a trial, which works beside the runtime that holds the device. */
  locks: string | null;
  logSeverity: 0 | 2 | 3;
  slots: RuntimeSlots;
}

/**
 * Started by a worker as `main.js runtime|trial --provider cpu|cuda --parent PID --locks DIR --log-level LEVEL --nice N
 * --shm-dir DIR --shm-limit BYTES`.
 */
async function main(): Promise<void> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      provider: { type: 'string' },
      parent: { type: 'string' },
      locks: { type: 'string' },
      'log-level': { type: 'string' },
      nice: { type: 'string' },
      'shm-dir': { type: 'string' },
      'shm-limit': { type: 'string' },
    },
  });
  dieWithParent(Number(values.parent));
  // Threads that are started from here on have it as well: those of sessions, and koffi's.
  if (values.nice !== undefined) setPriority(Number(values.nice));
  const trial = positionals[0] === 'trial';
  process.title = trial ? 'warmlane trial' : 'warmlane runtime';
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => undefined);
  dieWithLifeline();
  const channel: RuntimeChannel = parentChannel();
  channel.onClose(() => process.exit(exitCode));
  try {
    await start(channel, {
      provider: values.provider === 'cuda' ? 'cuda' : 'cpu',
      locks: trial ? null : (values.locks ?? null),
      logSeverity: ORT_SEVERITY[values['log-level'] ?? ''] ?? 3,
      slots: RuntimeSlots.open({
        dir: values['shm-dir'] ?? null,
        // A trial has no time to hand anything out.
        limitBytes: trial ? 0 : values['shm-limit'] === undefined ? null : Number(values['shm-limit']),
        keeperPid: Number(values.parent),
      }),
    });
  } catch (error) {
    channel.emit('refused', WarmlaneError.from(error).toBody());
    leave(channel, RUNTIME_EXIT.refused);
  }
}

async function start(channel: RuntimeChannel, { provider, locks, logSeverity, slots }: Start): Promise<void> {
  const { ORT_LIB_DIR: libDir, CUDA_VISIBLE_DEVICES: visible } = process.env;
  const gpu = provider === 'cuda' ? findGpu(visible ?? '0') : null;
  if (gpu !== null && locks !== null) await lockDevice(locks, gpu.uuid);
  const runtime = OrtRuntime.load({ logSeverity, ...(libDir === undefined ? {} : { libDir }) });
  const reading = libraryDigests(runtime.libraryPath);
  const device = gpu === null ? cpuDevice() : cudaDevice(runtime, gpu);
  const libraries = await reading;
  const environment = { provider: device.provider, ...device.environment, ort: runtime.version, ...libraries };
  serve(channel, runtime, device, { slots, libraries });
  channel.emit('hello', {
    pid: process.pid,
    provider: device.provider,
    device: device.name,
    ortVersion: runtime.version,
    environment,
    memory: device.memory(),
  });
}

function serve(
  channel: RuntimeChannel,
  runtime: OrtRuntime,
  device: Device,
  { slots, libraries }: { slots: RuntimeSlots; libraries: Record<string, string> },
): void {
  const gate = new Gate({
    nowMs: () => performance.now(),
    after: (ms, then) => {
      const timer = setTimeout(then, ms);
      return () => clearTimeout(timer);
    },
  });
  const weights = new WeightStore(runtime, device, gate, JSON.stringify(Object.entries(libraries).sort()));
  const lanes = new LaneTable(runtime, device, gate, weights, slots);
  const plain = new PlainSessions(runtime, device, gate, slots);
  const handle = <K extends keyof RuntimeMethods>(method: K, handler: Handler<K>, options: HandleOptions = {}): void =>
    channel.handle(
      method,
      guarded(handler, () => leave(channel, RUNTIME_EXIT.poisoned)),
      options,
    );
  handle('lane.create', lanes.create);
  handle('lane.first', lanes.first);
  handle('lane.capture', lanes.capture);
  handle('lane.measure', lanes.measure, { borrow: true });
  handle('lane.run', lanes.run, { borrow: true });
  handle('lane.items', lanes.items, { borrow: true });
  handle('lane.release', lanes.release);
  handle('lane.memory', lanes.memory);
  handle('plain.run', plain.run, { borrow: true });
  handle('plain.release', plain.release);
  handle('memory', () => ({ ...device.memory(), rss: process.memoryUsage.rss() }));
  handle('close', async () => {
    await gate.idle();
    lanes.close();
    await plain.close();
    device.cuda?.close();
    runtime.close();
    slots.close();
    leave(channel, 0);
    return {};
  });
}

/** Ends the process once what it has answered is with the kernel. The channel goes first: an exit in a driver can hang. */
function leave(channel: RuntimeChannel, code: number): void {
  setImmediate(() => {
    void channel.flush().then(() => {
      exitCode = code;
      channel.close();
    });
  });
}

await main();
