import { z } from 'zod';

/** How one candidate fared with one shape. */
export const TUNING_OUTCOMES = [
  /** The lane is made with it. */
  'won',
  /** Right, and not the fastest by more than chance. */
  'slower',
  /** Right, and needs more memory than the model may take, or than the trial was given. */
  'over-memory',
  'wrong-numbers',
  'nan',
  /** ONNX Runtime does not make or run the session. */
  'refused',
  /** Its process died; `signal` says by what. */
  'crashed',
  'timed-out',
  /** The time budget was used up, or two processes had died with it before. */
  'not-tried',
  /** Right and measured; the search goes on. */
  'measured',
] as const;
export const tuningOutcomeSchema = z.enum(TUNING_OUTCOMES);
export type TuningOutcome = z.infer<typeof tuningOutcomeSchema>;

/** What was found out about one candidate with one shape. Times in ms, memory in bytes; null where not measured. */
export const tuningCandidateSchema = z.object({
  name: z.string(),
  /** Provider, session and run options by ONNX Runtime's keys, those of the yaml or the warm-up included. */
  options: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
  outcome: tuningOutcomeSchema,
  firstMs: z.number().nullable(),
  p50Ms: z.number().nullable(),
  p99Ms: z.number().nullable(),
  relativeError: z.number().nullable(),
  memoryBytes: z.number().nullable(),
  reason: z.string(),
  /** What ended its process, where a signal did. */
  signal: z.string().nullable(),
});
export type TuningCandidate = z.infer<typeof tuningCandidateSchema>;

/** One shape of a model tuned in one environment, as it lies in Redis. */
export const tuningDocSchema = z.object({
  model: z.string(),
  version: z.string(),
  shapeKey: z.string(),
  /** Digest of the environment fingerprint. */
  environment: z.string(),
  modelDigest: z.string(),
  /** Digest of what else the choice depends on: the options that are given, the memory bound, tolerance and samples. */
  basis: z.string(),
  provider: z.enum(['cpu', 'cuda']),
  /** `cpu`, or the name of the GPU. */
  device: z.string(),
  state: z.enum(['searching', 'done']),
  /** Name of the candidate that lanes are made with; null while searching, and where none is right. */
  chosen: z.string().nullable(),
  candidates: z.array(tuningCandidateSchema),
  /** The worker that measured. */
  worker: z.string(),
  /** ISO 8601. */
  updatedAt: z.string(),
});
export type TuningDoc = z.infer<typeof tuningDocSchema>;

/** One entry of `GET /v1/tunings`. */
export const tuningViewSchema = tuningDocSchema.omit({ modelDigest: true, basis: true });
export type TuningView = z.infer<typeof tuningViewSchema>;

/** The trial that is under way, written before it begins: found open, its worker died during it. */
export const tuningStepSchema = z.object({
  worker: z.string(),
  candidate: z.string(),
  shapeKey: z.string(),
  /** Workers that died during this very trial before. */
  deaths: z.number().int(),
  since: z.string(),
});
export type TuningStep = z.infer<typeof tuningStepSchema>;
