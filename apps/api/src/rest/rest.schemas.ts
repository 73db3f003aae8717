import { DEFAULT_PRIORITY, deadlineMsSchema, LANE_STATES } from '@warmlane/contracts';
import { z } from 'zod';

const option = z.union([z.string(), z.number(), z.boolean()]);

/** Body of `POST /v1/models/{m}/versions/{v}/warmups`. */
export const warmupRequestSchema = z.strictObject({
  shapes: z
    .union([z.literal('plan'), z.array(z.string().min(1)).min(1).max(10_000)])
    .describe('Shape keys, or "plan" for every shape of the plan'),
  replicas: z.number().int().min(1).max(1024).optional().describe('On how many workers each lane is to be warm'),
  tune: z.boolean().default(false).describe('true: the tuner chooses the options of each shape'),
  options: z.record(z.string(), option).optional().describe("Provider and session options over the model's own"),
  priority: z.number().int().min(0).max(9).default(DEFAULT_PRIORITY).describe('0 first'),
  deadlineMs: deadlineMsSchema.optional().describe('From acceptance; default 600,000'),
});
export type WarmupBody = z.infer<typeof warmupRequestSchema>;

/** Query of `GET /v1/lanes`. */
export const laneQuerySchema = z.strictObject({
  model: z.string().optional(),
  version: z.string().optional(),
  state: z.enum(LANE_STATES).optional(),
  worker: z.string().optional(),
});
export type LaneQuery = z.infer<typeof laneQuerySchema>;
