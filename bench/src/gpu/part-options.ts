import { parseArgs } from 'node:util';
import type { ProviderName } from '@warmlane/contracts';

/** What the parts that start Warmlane itself are run with. The defaults are those of the figures; smaller ones rehearse. */
export interface PartOptions {
  provider: ProviderName;
  /** What WARMLANE_DEVICE takes. */
  device: string;
  /** null: the library of onnxruntime-node, on the CPU alone. */
  libDir: string | null;
  modelsDir: string;
  /** Of the lanes, in `endToEnd`. */
  requests: number;
  /** Of the plain session there. */
  plainRequests: number;
  /** Shapes with larger inputs are left out of `endToEnd`, bytes. */
  largestBytes: number;
  /** Lanes of `warm16`: the first so many of its shapes. */
  warm: number;
  /** Times that `warm16` and `restart4` are measured. */
  repeats: number;
  /** Lanes that warm at a time in `besideTraffic`, and lanes that serve. */
  beside: number;
  /** Rounds of these. */
  rounds: number;
  /** The tuner takes every so-manieth shape of each model: a tuning of all takes minutes. */
  tuneEvery: number;
}

export interface CommandLine {
  out: string;
  parts: string[];
  options: PartOptions;
}

const USAGE =
  'usage: ORT_LIB_DIR=... MODELS_DIR=... node bench/dist/gpu/lanes.js OUT.json PART... [--provider cpu] [--requests 3000] ' +
  '[--plain-requests 200] [--largest-mb 64] [--warm 16] [--repeats 3] [--beside 8] [--rounds 3] [--tune-every 1]';

/** Throws with the usage where something is missing. */
export function readCommandLine(args: string[], env: NodeJS.ProcessEnv): CommandLine {
  const text = (value: string) => ({ type: 'string' as const, default: value });
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      provider: text('cuda'),
      requests: text('3000'),
      'plain-requests': text('200'),
      'largest-mb': text('64'),
      warm: text('16'),
      repeats: text('3'),
      beside: text('8'),
      rounds: text('3'),
      'tune-every': text('1'),
    },
  });
  const [out, ...parts] = positionals;
  const { ORT_LIB_DIR: libDir, MODELS_DIR: modelsDir } = env;
  const provider = values.provider === 'cpu' ? 'cpu' : 'cuda';
  if (out === undefined || modelsDir === undefined || (libDir === undefined && provider === 'cuda')) {
    throw new Error(USAGE);
  }
  return {
    out,
    parts,
    options: {
      provider,
      device: provider === 'cpu' ? 'cpu' : 'cuda:0',
      libDir: libDir ?? null,
      modelsDir,
      requests: Number(values.requests),
      plainRequests: Number(values['plain-requests']),
      largestBytes: Number(values['largest-mb']) * 1e6,
      warm: Number(values.warm),
      repeats: Number(values.repeats),
      beside: Number(values.beside),
      rounds: Number(values.rounds),
      tuneEvery: Number(values['tune-every']),
    },
  };
}
