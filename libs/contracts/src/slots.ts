import { z } from 'zod';

/** Tensors of at least this many bytes go through shared memory where both sides have it. */
export const SLOT_LEAST_BYTES = 64 * 1024;

/**
 * Where a tensor's bytes lie in shared memory: a slot in the folder of the process that wrote it. Never a path: each
 * process has its own folder of folders. The token is random per use, so that a slot that is used again shows.
 */
export const slotRefSchema = z.strictObject({
  owner: z.string().regex(/^[0-9a-f]{32}$/),
  slot: z.number().int().min(0),
  token: z.string().regex(/^[0-9a-f]{32}$/),
  bytes: z.number().int().min(0),
});
export type SlotRef = z.infer<typeof slotRefSchema>;
