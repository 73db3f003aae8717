import { decodeName, encodeName, isModelName, isVersion } from '@warmlane/contracts';
import { PREFIX } from './keys.js';

/** Entry queue of inferences, for producers in any language. */
export const INFERENCE_QUEUE = 'inference';
/** Entry queue of warm-ups, for producers in any language. */
export const WARMUP_QUEUE = 'warmup';
/** Parents of the warm-up flows. */
export const WARM_MODEL_QUEUE = 'warm-model';

const WORKER_ID = /^[A-Za-z0-9._-]{1,128}$/;

/** True for a text that may be a worker's id: it stands in queue names and beside `:` in sets. */
export function isWorkerId(text: string): boolean {
  return WORKER_ID.test(text);
}

/** A model's name may hold dots, which part a queue's name. */
const encodeModel = (name: string): string => encodeName(name).replaceAll('.', '%2E');

/** Queue of one shape class: `run.<model>.<version>.<class>`, percent-encoded: BullMQ refuses `:` in names. */
export function classQueueName(model: string, version: string, shapeClass: string): string {
  return `run.${encodeModel(model)}.${version}.${encodeName(shapeClass)}`;
}

/** Queue of a model's requests that have no live lane: `cold.<model>.<version>`. */
export function coldQueueName(model: string, version: string): string {
  return `cold.${encodeModel(model)}.${version}`;
}

/** Queue of the lanes that one worker is to warm. */
export function warmLaneQueueName(worker: string): string {
  if (!isWorkerId(worker)) {
    throw new RangeError(`worker id '${worker}' may hold only letters, digits, '.', '_' and '-', at most 128`);
  }
  return `warm-lane.${worker}`;
}

export type QueueName =
  | { kind: 'inference' }
  | { kind: 'warmup' }
  | { kind: 'warm-model' }
  | { kind: 'run'; model: string; version: string; shapeClass: string }
  | { kind: 'cold'; model: string; version: string }
  | { kind: 'warm-lane'; worker: string };

/** Inverse of the producers above; null for a name that none of them makes. */
export function parseQueueName(name: string): QueueName | null {
  if (name === INFERENCE_QUEUE || name === WARMUP_QUEUE || name === WARM_MODEL_QUEUE) return { kind: name };
  const parsed = parseDotted(name);
  return parsed !== null && printQueueName(parsed) === name ? parsed : null;
}

function parseDotted(name: string): QueueName | null {
  const [kind, first = '', version = ''] = name.split('.');
  if (kind === 'warm-lane') {
    const worker = name.slice('warm-lane.'.length);
    return isWorkerId(worker) ? { kind, worker } : null;
  }
  if ((kind !== 'run' && kind !== 'cold') || !isVersion(version)) return null;
  let model: string;
  let shapeClass: string;
  try {
    model = decodeName(first);
    shapeClass = decodeName(name.slice(`${kind}.${first}.${version}.`.length));
  } catch {
    return null;
  }
  if (!isModelName(model)) return null;
  if (kind === 'cold') return { kind, model, version };
  return shapeClass === '' ? null : { kind, model, version, shapeClass };
}

/** Name of a parsed queue. */
export function printQueueName(queue: QueueName): string {
  switch (queue.kind) {
    case 'run':
      return classQueueName(queue.model, queue.version, queue.shapeClass);
    case 'cold':
      return coldQueueName(queue.model, queue.version);
    case 'warm-lane':
      return warmLaneQueueName(queue.worker);
    case 'inference':
    case 'warmup':
    case 'warm-model':
      return queue.kind;
  }
}

/** A key that BullMQ made for one of our queues, taken apart: the queue and what stands behind it. */
export function parseQueueKey(text: string): { queue: QueueName; rest: string } | null {
  const [prefix, name = '', ...rest] = text.split(':');
  if (prefix !== PREFIX) return null;
  const queue = parseQueueName(name);
  return queue === null ? null : { queue, rest: rest.join(':') };
}
