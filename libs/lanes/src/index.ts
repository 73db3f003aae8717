export * from './scheduler/credit-ledger.js';
export * from './scheduler/deadline-queue.js';
