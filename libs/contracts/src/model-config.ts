import { z } from 'zod';

const providerName = z.enum(['cpu', 'cuda']);
export type ProviderName = z.infer<typeof providerName>;

/** How the values of one input are made for warm-up and verification. */
export const inputSampleSchema = z.union([
  z.strictObject({ zeros: z.literal(true) }),
  z.strictObject({ random: z.tuple([z.number(), z.number()]) }),
  z.strictObject({ values: z.array(z.union([z.number(), z.string(), z.boolean()])).min(1) }),
  z.strictObject({ file: z.string().min(1) }),
]);
export type InputSample = z.infer<typeof inputSampleSchema>;

const shapes = z.array(z.string().min(1));
const axis = z.number().int().min(0).max(63);

/** Largest batch of a lane. */
export const MAX_BATCH = 1_024;

/** Requests of one shape class may run together. `axis`: by input and output; left out, it is inferred. */
export const batchConfigSchema = z.strictObject({
  axis: z.record(z.string(), axis).optional(),
  sizes: z.array(z.number().int().min(1).max(MAX_BATCH)).min(1),
});
export type BatchConfig = z.infer<typeof batchConfigSchema>;

/** How one input's axis is filled up to a bucket, and which outputs are cropped for it. */
const padAxisSchema = z.strictObject({
  axis,
  to: z.array(z.number().int().min(1)).min(1),
  value: z.number().default(0),
  outputs: z.record(z.string(), z.strictObject({ axis, crop: z.string().min(1) })).default({}),
});

/** By input. */
const padInputsSchema = z.record(z.string(), padAxisSchema);

/** One set of inputs, or a list of them; what is padded is the product of all. */
export const padConfigSchema = z.union([padInputsSchema, z.array(padInputsSchema).min(1)]);
export type PadConfig = z.infer<typeof padConfigSchema>;

/** `warmlane.yaml`, as written. */
export const modelConfigSchema = z.strictObject({
  provider: z.union([z.literal('auto'), providerName, z.array(providerName).min(1)]).default('auto'),
  fallback: z.enum(['error', 'allow']).default('error'),
  options: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).default({}),
  tune: z.boolean().default(false),
  shapes: shapes.default([]),
  required: z.boolean().default(true),
  replicas: z.number().int().min(1).max(1024).default(1),
  batch: batchConfigSchema.optional(),
  pad: padConfigSchema.optional(),
  inputs: z
    .record(z.string(), z.union([z.literal('zeros').transform(() => ({ zeros: true as const })), inputSampleSchema]))
    .default({}),
  tolerance: z.strictObject({ relative: z.number().positive() }).optional(),
  memory: z
    .string()
    .regex(/^[0-9]+(KiB|MiB|GiB)$/, 'a size such as 512MiB')
    .optional(),
});
export type ModelConfig = z.infer<typeof modelConfigSchema>;

/** `512MiB` -> bytes. */
export function parseSize(text: string): number {
  const match = /^([0-9]+)(KiB|MiB|GiB)$/.exec(text);
  if (match === null) throw new RangeError(`'${text}' is not a size such as 512MiB`);
  const unit = { KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 }[match[2] as 'KiB' | 'MiB' | 'GiB'];
  return Number(match[1]) * unit;
}
