import { z } from 'zod';

export const LANE_STATES = [
  'QUEUED',
  'CREATING',
  'SEARCHING',
  'CAPTURING',
  'MEASURING',
  'VERIFYING',
  'READY',
  'SUSPECT',
  'DRAINING',
  'EVICTED',
  'FAILED',
  'STALE',
] as const;
export const laneStateSchema = z.enum(LANE_STATES);
export type LaneState = z.infer<typeof laneStateSchema>;

/** What set a state change off. */
export const laneTriggerSchema = z.enum([
  'plan',
  'warmup',
  'traffic',
  'restart',
  'watch',
  'verify',
  'evict',
  'version',
  'shutdown',
  'worker-gone',
]);
export type LaneTrigger = z.infer<typeof laneTriggerSchema>;

/** A batch of distinct items against a single run of each through the reference. */
export const batchProofSchema = z.object({
  verified: z.boolean(),
  size: z.number().int(),
  /** Worst over items, outputs and samples; null where it could not be compared. */
  relativeError: z.number().nullable(),
  /** Why it is not verified: the lane serves its exact shape alone then. Else empty. */
  reason: z.string(),
});
export type BatchProof = z.infer<typeof batchProofSchema>;

/** Padded and cropped against the reference of the unpadded shape. */
export const paddingProofSchema = z.object({
  verified: z.boolean(),
  /** Shape keys that were compared. */
  shapes: z.array(z.string()),
  relativeError: z.number().nullable(),
  /** Why it is not verified: nothing is padded to the lane then. Else empty. */
  reason: z.string(),
});
export type PaddingProof = z.infer<typeof paddingProofSchema>;

/** The evidence that a lane is warm. Times in ms, memory in bytes. */
export const warmRecordSchema = z.object({
  /** First run of the shape on the lane's session: plans, arena. */
  firstMs: z.number(),
  createMs: z.number(),
  /** null where no graph was captured. */
  captureMs: z.number().nullable(),
  steadyP50Ms: z.number(),
  steadyP99Ms: z.number(),
  /** Median of the 20 runs after other shapes ran. */
  revisitP50Ms: z.number(),
  /** `shapes`: after at least two other shapes; `single-shape`: the model's inputs are all fixed. */
  revisit: z.enum(['shapes', 'single-shape']),
  /** Worst over outputs, batch items and samples. */
  relativeError: z.number(),
  tolerance: z.number(),
  /** `declared` by the yaml, or `guessed`. */
  inputs: z.enum(['declared', 'guessed']),
  samples: z.number().int(),
  /** Options as the provider parsed them: proves parsing, not effect. */
  optionsParsed: z.record(z.string(), z.string()),
  /** Nodes per execution provider. */
  placement: z.record(z.string(), z.number().int()),
  /** `captured`, or why there is none. */
  graph: z.string(),
  memoryBytes: z.number(),
  /** Whether its batch is as good as single runs; absent where the model declares no batch. */
  batch: batchProofSchema.optional(),
  /** Whether smaller requests may be padded to its shape; absent where nothing is padded to it. */
  padding: paddingProofSchema.optional(),
  /**
   * Bytes of weights that it holds together with the other lanes of its model on the device, beside `memoryBytes`; and
   * why none, or why a lane still reads them from disk.
   */
  weights: z.object({ sharedBytes: z.number(), reason: z.string() }).optional(),
  /** Digest of the environment fingerprint. */
  environment: z.string(),
  /** ISO 8601. */
  verifiedAt: z.string(),
});
export type WarmRecord = z.infer<typeof warmRecordSchema>;

export const laneDocSchema = z.object({
  id: z.string(),
  model: z.string(),
  version: z.string(),
  shapeKey: z.string(),
  state: laneStateSchema,
  /** ISO 8601. */
  since: z.string(),
  reason: z.string(),
  trigger: laneTriggerSchema,
  worker: z.string(),
  /** Runtime epoch the lane lives in. */
  epoch: z.number().int(),
  record: warmRecordSchema.nullable(),
});
export type LaneDoc = z.infer<typeof laneDocSchema>;
