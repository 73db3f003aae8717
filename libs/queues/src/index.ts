export {
  createQueue,
  createWorker,
  type Processor,
  type QueueErrorListener,
  type QueueOptions,
  type TypedQueue,
  type WorkerOptions,
} from './queue.factory.js';
export { QueueCache } from './queue-cache.js';
export * from './settings.js';
