import { z } from 'zod';
import { laneStateSchema } from './lane.js';
import { modelConfigSchema } from './model-config.js';
import { modelMetadataSchema } from './model-metadata.js';

/** A model version as its workers registered it in Redis. */
export const modelDocSchema = z.object({
  name: z.string(),
  version: z.string(),
  /** `UNLOADED`: taken out by the repository API. `FAILED`: cannot be loaded, reason holds the message of ONNX Runtime. */
  state: z.enum(['LOADING', 'LOADED', 'FAILED', 'UNLOADED']),
  reason: z.string(),
  /** SHA-256 of model.onnx and its external data; null while FAILED before it could be read. */
  digest: z.string().nullable(),
  metadata: modelMetadataSchema.nullable(),
  config: modelConfigSchema,
  /** True once every required lane was READY: the version may become the default. */
  wasReady: z.boolean(),
  /** True while a newer version has taken over: its declared plan is set aside. */
  retired: z.boolean(),
  registeredAt: z.string(),
});
export type ModelDoc = z.infer<typeof modelDocSchema>;

/** One shape of a warm plan. */
export const planEntrySchema = z.object({
  shapeKey: z.string(),
  /** From warmlane.yaml. */
  declared: z.boolean(),
  /** Warm-ups that name it. */
  warmups: z.array(z.string()),
  replicas: z.number().int(),
  /** 0 first. */
  priority: z.number().int(),
  required: z.boolean(),
  /** Options of the warm-up that named it last, over the yaml's. */
  options: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
  /** True where the warm-up that named it last asks for tuning. */
  tune: z.boolean(),
  addedAt: z.string(),
  /** Ids of the workers on which an eviction holds the lane back. */
  held: z.array(z.string()),
});
export type PlanEntry = z.infer<typeof planEntrySchema>;

/** One worker of the fleet. */
export const WORKER_STATES = ['starting', 'serving', 'degraded', 'device-unhealthy', 'draining', 'gone'] as const;

export const workerDocSchema = z.object({
  id: z.string(),
  host: z.string(),
  /** `cpu`, or a GPU's name and UUID. */
  device: z.string(),
  provider: z.enum(['cpu', 'cuda']),
  epoch: z.number().int(),
  state: z.enum(WORKER_STATES),
  since: z.string(),
  reason: z.string(),
  /** Bytes. */
  memory: z.object({ budget: z.number(), used: z.number() }),
  /** Number of lanes by state. */
  lanes: z.record(z.string(), z.number().int()),
  pid: z.number().int(),
  environment: z.string(),
  /** Models this worker holds with the registered digest: `name/version`. */
  models: z.array(z.string()),
});
export type WorkerDoc = z.infer<typeof workerDocSchema>;

export const WARMUP_STATES = ['queued', 'running', 'ready', 'partial', 'failed', 'canceled'] as const;
export const warmupStateSchema = z.enum(WARMUP_STATES);
export type WarmupState = z.infer<typeof warmupStateSchema>;

export const warmupLaneSchema = z.object({
  shapeKey: z.string(),
  /** null while no worker has it. */
  worker: z.string().nullable(),
  state: laneStateSchema,
  reason: z.string(),
});

/** What `GET /v1/warmups/{id}` answers. */
export const warmupViewSchema = z.object({
  id: z.string(),
  model: z.string(),
  version: z.string(),
  state: warmupStateSchema,
  reason: z.string(),
  total: z.number().int(),
  ready: z.number().int(),
  failed: z.number().int(),
  lanes: z.array(warmupLaneSchema),
});
export type WarmupView = z.infer<typeof warmupViewSchema>;
export type WarmupLane = z.infer<typeof warmupLaneSchema>;

/** A warm-up as it lies in Redis. */
export const warmupDocSchema = z.object({
  id: z.string(),
  model: z.string(),
  version: z.string(),
  /** Expanded, in the request's order. */
  shapes: z.array(z.string()),
  /** Shapes that this warm-up added to the plan, as opposed to found there. */
  added: z.array(z.string()),
  replicas: z.number().int().nullable(),
  priority: z.number().int(),
  createdAt: z.string(),
  /** Redis TIME in ms. */
  deadlineAt: z.number(),
  /** Generation of the flow; 0 before the first. */
  generation: z.number().int(),
  /** Which worker warms what in this generation. */
  assignments: z.array(z.object({ shapeKey: z.string(), worker: z.string() })),
  canceled: z.boolean(),
  /** The last view, once the state is final. */
  final: warmupViewSchema.nullable(),
});
export type WarmupDoc = z.infer<typeof warmupDocSchema>;

/** The step a runtime is in, written before it begins; read after a death. */
export const stepDocSchema = z.object({
  worker: z.string(),
  epoch: z.number().int(),
  lane: z.string(),
  model: z.string(),
  version: z.string(),
  shapeKey: z.string(),
  step: z.enum(['create', 'first', 'capture', 'measure', 'verify', 'revisit']),
  since: z.string(),
});
export type StepDoc = z.infer<typeof stepDocSchema>;
