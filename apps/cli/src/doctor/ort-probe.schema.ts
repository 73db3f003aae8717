import { z } from 'zod';

/** Whether ONNX Runtime and its CUDA provider load on this machine; found out in a process of its own. */
export const ortProbeSchema = z.object({
  /** ONNX Runtime's version, or null with `reason`. */
  version: z.string().nullable(),
  libraryPath: z.string().nullable(),
  /** Providers that the build has; whether one loads is another question. */
  builtProviders: z.array(z.string()),
  reason: z.string(),
  cuda: z.object({
    loadable: z.boolean(),
    /** The provider library, where there is one. */
    libraryPath: z.string().nullable(),
    /** Every library that it needs and that the loader does not find, by exact name. */
    missing: z.array(z.string()),
    reason: z.string(),
  }),
});
export type OrtProbe = z.infer<typeof ortProbeSchema>;
