import { fileURLToPath } from 'node:url';
import { runCommand } from '@warmlane/process';
import { type OrtProbe, ortProbeSchema } from './ort-probe.schema.js';

const PROBE = fileURLToPath(new URL('./ort-probe.main.js', import.meta.url));
// A cold CUDA provider of 500 MB with its libraries takes some seconds to map and relocate.
const TIMEOUT_MS = 60_000;

/** Asks a process of its own what loads. @param libDir folder of another ONNX Runtime build (ORT_LIB_DIR) */
export async function probeOrt(libDir: string | undefined): Promise<OrtProbe> {
  const args = libDir === undefined ? [PROBE] : [PROBE, libDir];
  const result = await runCommand(process.execPath, args, { timeoutMs: TIMEOUT_MS });
  const parsed = ortProbeSchema.safeParse(parseJson(result.stdout));
  if (parsed.success) {
    return parsed.data;
  }
  const reason = `the probe ended with code ${result.code ?? 'none'}: ${result.stderr.trim().split('\n').at(-1) ?? ''}`;
  const cuda = { loadable: false, libraryPath: null, missing: [], reason };
  return { version: null, libraryPath: null, builtProviders: [], reason, cuda };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
