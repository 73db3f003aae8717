import { z } from 'zod';
import { slotRefSchema } from './slots.js';
import { DATATYPE_NAMES, type Datatype, DTYPE_NAMES, type DType } from './tensor.js';

/** A blob in `WARMLANE_BLOB_REDIS`: `{wl}:blob:<id>`, above 1 MiB the pieces `{wl}:blob:<id>:<n>` of 1 MiB but the last. */
export const blobRefSchema = z.strictObject({ id: z.string().regex(/^[0-9a-f]{32}$/), bytes: z.number().int().min(0) });
export type BlobRef = z.infer<typeof blobRefSchema>;

const dims = z.array(z.number());
const priority = z.number().int().min(0).max(9);

export const DEFAULT_PRIORITY = 5;
export const DEFAULT_INFER_DEADLINE_MS = 30_000;
export const DEFAULT_WARMUP_DEADLINE_MS = 600_000;
export const deadlineMsSchema = z.number().int().min(1).max(3_600_000);

// ---- entry queues: what producers in any language add ------------------------------------------------------------

const entryTensorSchema = z.union([
  z.strictObject({
    name: z.string(),
    datatype: z.enum(DATATYPE_NAMES as [Datatype, ...Datatype[]]),
    shape: dims,
    base64: z.base64(),
  }),
  z.strictObject({
    name: z.string(),
    datatype: z.enum(DATATYPE_NAMES as [Datatype, ...Datatype[]]),
    shape: dims,
    blob: blobRefSchema,
  }),
]);
export type EntryTensor = z.infer<typeof entryTensorSchema>;

/** Data of job `infer` in queue `inference`. */
export const entryInferJobSchema = z.strictObject({
  v: z.literal(1),
  model: z.string(),
  version: z.string().optional(),
  inputs: z.array(entryTensorSchema).min(1),
  outputs: z.array(z.string()).min(1).optional(),
  deadlineMs: deadlineMsSchema.optional(),
  priority: priority.optional(),
});
export type EntryInferJob = z.infer<typeof entryInferJobSchema>;

export type LaneServed = 'ready' | 'padded' | 'cold';

/** Where a request's time went, ms. */
export interface Timing {
  queueMs: number;
  gatherMs: number;
  copyMs: number;
  computeMs: number;
  totalMs: number;
}

/** What a job of queue `inference` returns. */
export interface EntryInferResult {
  v: 1;
  lane: LaneServed;
  shapeKey: string;
  timing: Timing;
  outputs: EntryTensor[];
}

/** Data of job `warm` in queue `warmup`; it returns a WarmupView. */
export const entryWarmJobSchema = z.strictObject({
  v: z.literal(1),
  model: z.string(),
  version: z.string(),
  shapes: z.union([z.literal('plan'), z.array(z.string()).min(1)]),
  replicas: z.number().int().min(1).max(1024).optional(),
  tune: z.boolean().optional(),
  options: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional(),
  priority: priority.optional(),
  deadlineMs: deadlineMsSchema.optional(),
});
export type EntryWarmJob = z.infer<typeof entryWarmJobSchema>;

// ---- internal queues ----------------------------------------------------------------------------------------------

/** A tensor of an internal job: inline up to 8 kB in sum, else a blob, or a slot of shared memory. */
export const jobTensorSchema = z.strictObject({
  name: z.string(),
  dtype: z.enum(DTYPE_NAMES as [DType, ...DType[]]),
  dims,
  base64: z.string().optional(),
  blob: blobRefSchema.optional(),
  slot: slotRefSchema.optional(),
});
export type JobTensor = z.infer<typeof jobTensorSchema>;

/** Data of a job in a class queue or a model's cold queue. */
export const classJobSchema = z.strictObject({
  v: z.literal(1),
  /** Internal request id; the answer is written under it, once. */
  request: z.string(),
  /** The producer whose reply stream is told. */
  producer: z.string(),
  model: z.string(),
  version: z.string(),
  /** The request's own key, whatever serves it. */
  shapeKey: z.string(),
  /** The class that serves it, where that is another text than its key: with a batch axis, or of a larger shape. */
  shapeClass: z.string().optional(),
  /** Its inputs are to be padded to the class's shape. */
  padded: z.boolean().optional(),
  inputs: z.array(jobTensorSchema),
  outputs: z.array(z.string()),
  /** Redis TIME in ms. */
  deadlineAt: z.number(),
  enqueuedAt: z.number(),
  priority,
  /** True for the one repeat after the holder died. */
  repeat: z.boolean(),
  /** How long blobs of the answer live, ms: 10,000 for synchronous HTTP, which unlinks them on delivery; default 60,000. */
  answerBlobTtlMs: z.number().int().min(1).optional(),
  /** The producer's folder in shared memory: a worker that reads it answers through slots, and proves it. */
  sharesMemory: z
    .string()
    .regex(/^[0-9a-f]{32}$/)
    .optional(),
});
export type ClassJob = z.infer<typeof classJobSchema>;

/** The JSON head of an answer in `{wl}:reply:<request>`; inline outputs follow it as raw bytes in order. */
export const answerHeadSchema = z.union([
  z.object({
    ok: z.literal(true),
    lane: z.enum(['ready', 'padded', 'cold']),
    shapeKey: z.string(),
    /** Size of the request's batch axis; absent: 1. */
    items: z.number().int().min(1).optional(),
    worker: z.string(),
    /** The nonce in the producer's folder in shared memory: this worker reads its slots. */
    proof: z.string().optional(),
    timing: z.object({ queueMs: z.number(), gatherMs: z.number(), copyMs: z.number(), computeMs: z.number() }),
    outputs: z.array(
      z.object({
        name: z.string(),
        dtype: z.enum(DTYPE_NAMES as [DType, ...DType[]]),
        dims,
        bytes: z.number().int(),
        blob: blobRefSchema.nullable(),
        slot: slotRefSchema.optional(),
      }),
    ),
  }),
  z.object({
    ok: z.literal(false),
    error: z.object({ code: z.string(), message: z.string(), hint: z.string(), retryable: z.boolean() }),
  }),
]);
export type AnswerHead = z.infer<typeof answerHeadSchema>;

/** Data of a `warm-lane` child on a worker's own queue. */
export const warmLaneJobSchema = z.strictObject({
  v: z.literal(1),
  warmup: z.string(),
  model: z.string(),
  version: z.string(),
  shapeKey: z.string(),
  worker: z.string(),
});
export type WarmLaneJob = z.infer<typeof warmLaneJobSchema>;

/** Data of a `warm-model` parent. */
export const warmModelJobSchema = z.strictObject({ v: z.literal(1), warmup: z.string(), generation: z.number().int() });
export type WarmModelJob = z.infer<typeof warmModelJobSchema>;
