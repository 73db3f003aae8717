export { type AsyncAnswer, WarmlaneClient, type WarmlaneClientOptions } from './client/warmlane-client.js';
export { EntryDispatcher, type EntryDispatcherOptions } from './dispatcher/entry-dispatcher.js';
export { type FirstLoadPort, StillLoadingError } from './dispatcher/first-load.port.js';
export { CLASS_LIMIT, type ClassLimit } from './producer/class-limits.js';
export type { BlobTensor, InputTensor } from './producer/job-tensors.js';
export { findModel, type ServableModel } from './producer/model-cache.js';
export { Patience } from './producer/patience.js';
export { type InferAnswer, type InferRequest, Producer, type ProducerOptions, successOf } from './producer/producer.js';
export type { Resumption, Submission } from './producer/submission.js';
export type { Submitted } from './producer/submitter.js';
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
export { UnservedQueues, type UnservedQueuesOptions } from './unserved-queues.js';
export { WarmupCoordinator, type WarmupCoordinatorOptions } from './warmup/warmup-coordinator.js';
export type { WarmupInput } from './warmup/warmup-request.js';
export type { PlaceLane } from './warmup/warmup-steps.js';
