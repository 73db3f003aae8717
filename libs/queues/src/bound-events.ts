import type { QueueBase } from 'bullmq';

/**
 * Sets how many events a queue keeps. Each script of BullMQ that finds no such setting writes 10,000: an add of a
 * FlowProducer and a Worker's check for stalled jobs do, and only a `Queue` says otherwise, when it is made.
 */
export async function boundEvents(queue: Pick<QueueBase, 'getBackend'>, eventsKept: number): Promise<void> {
  await queue.getBackend().setQueueMeta({ 'opts.maxLenEvents': eventsKept });
}
