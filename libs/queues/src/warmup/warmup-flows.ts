import { parseErrorBody, type WarmLaneJob, type WarmModelJob, type WarmupDoc } from '@warmlane/contracts';
import { PREFIX, parseQueueName, WARM_MODEL_QUEUE, type WarmLaneQueueStore, warmLaneQueueName } from '@warmlane/redis';
import { FlowProducer, type Job } from 'bullmq';
import type { Redis } from 'ioredis';
import { createQueue, type QueueErrorListener, type TypedQueue } from '../queue.factory.js';
import { EVENTS_KEPT } from '../settings.js';
import type { Slot, SlotFailure } from './warmup-slots.js';

/** A slot and the worker that is to warm it. */
export interface AssignedSlot extends Slot {
  worker: string;
}

/** Id of a generation's parent; its child for slot n is `<flow>-<n>`. Fixed, so that adding twice is adding once. */
export function flowId(warmup: string, generation: number): string {
  return generation <= 1 ? warmup : `${warmup}-g${generation}`;
}

/** The BullMQ flows that report on warm-ups: a `warm-model` parent, one `warm-lane` child per slot on its worker's queue. */
export class WarmupFlows {
  readonly #producer: FlowProducer;
  readonly #parents: TypedQueue<WarmModelJob>;

  constructor(
    redis: Redis,
    private readonly queues: WarmLaneQueueStore,
    onError: QueueErrorListener,
  ) {
    this.#producer = new FlowProducer({ connection: redis, prefix: PREFIX });
    this.#producer.on('error', (error) => {
      if (redis.status === 'ready') onError(WARM_MODEL_QUEUE, error);
    });
    this.#parents = createQueue<WarmModelJob>(WARM_MODEL_QUEUE, { redis, onError });
  }

  /**
   * Adds the flow of a generation; a second add changes nothing. A child that fails is ignored by its parent (it runs
   * when all are settled, and compares): without that option it would wait for ever.
   */
  async add(doc: WarmupDoc, generation: number, slots: readonly AssignedSlot[]): Promise<void> {
    const parent: WarmModelJob = { v: 1, warmup: doc.id, generation };
    const jobId = flowId(doc.id, generation);
    const workers = [...new Set(slots.map((slot) => slot.worker))];
    await this.queues.use(workers, { eventsKept: EVENTS_KEPT });
    await this.#producer.add({
      name: 'warm-model',
      queueName: WARM_MODEL_QUEUE,
      data: parent,
      opts: { jobId },
      children: slots.map(({ n, shapeKey, worker }) => {
        const data: WarmLaneJob = { v: 1, warmup: doc.id, model: doc.model, version: doc.version, shapeKey, worker };
        const opts = { jobId: `${jobId}-${n}`, priority: doc.priority, ignoreDependencyOnFailure: true };
        return { name: 'warm-lane', queueName: warmLaneQueueName(worker), data, opts };
      }),
    });
  }

  async parent(warmup: string, generation: number): Promise<Job<WarmModelJob> | null> {
    return (await this.#parents.getJob(flowId(warmup, generation))) ?? null;
  }

  /** What children of any generation failed of, by slot; not of `worker-gone`: that slot goes to another worker. */
  async failures(warmup: string, generation: number): Promise<Map<number, SlotFailure>> {
    const failures = new Map<number, SlotFailure>();
    const backend = this.#parents.getBackend();
    for (let one = 1; one <= generation; one += 1) {
      const flow = flowId(warmup, one);
      for (const [key, text] of Object.entries(await backend.getIgnoredChildrenFailures(flow))) {
        const body = parseErrorBody(text);
        const child = parseChildKey(key, flow);
        if (child === null || body?.code === 'worker-gone') continue;
        failures.set(child.n, { worker: child.worker, reason: body?.message ?? text });
      }
    }
    return failures;
  }

  /** Takes out the children that nobody has begun. */
  async removeWaiting(warmup: string, generation: number): Promise<void> {
    if (generation === 0) return;
    const parent = await this.parent(warmup, generation);
    await parent?.removeUnprocessedChildren();
  }

  async close(): Promise<void> {
    await Promise.all([this.#producer.close(), this.#parents.close()]);
  }
}

/** `<prefix>:<queue>:<flow>-<n>` -> slot and worker; null for a job that is not of this flow. */
function parseChildKey(key: string, flow: string): { n: number; worker: string } | null {
  const { queueName, id } = splitJobKey(key);
  const queue = parseQueueName(queueName);
  if (queue?.kind !== 'warm-lane' || !id.startsWith(`${flow}-`)) return null;
  const n = Number(id.slice(flow.length + 1));
  return Number.isInteger(n) ? { n, worker: queue.worker } : null;
}

/** Neither prefix, queue names nor job ids hold a colon. */
function splitJobKey(key: string): { queueName: string; id: string } {
  const [, queueName = '', id = ''] = key.split(':');
  return { queueName, id };
}
