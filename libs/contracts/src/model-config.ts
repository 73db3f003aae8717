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

/** `warmlane.yaml`, as written. `batch`, `pad` and `tune: true` parse here and are refused at load as not supported. */
export const modelConfigSchema = z.strictObject({
  provider: z.union([z.literal('auto'), providerName, z.array(providerName).min(1)]).default('auto'),
  fallback: z.enum(['error', 'allow']).default('error'),
  options: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).default({}),
  tune: z.boolean().default(false),
  shapes: shapes.default([]),
  required: z.boolean().default(true),
  replicas: z.number().int().min(1).max(1024).default(1),
  batch: z.unknown().optional(),
  pad: z.unknown().optional(),
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
