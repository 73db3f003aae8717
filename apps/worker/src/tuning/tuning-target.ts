import { createHash } from 'node:crypto';
import type { TuningKey } from '@warmlane/redis';
import type { LaneSpec } from '../lanes/lane.js';

/** Counts up where other candidates or another rule of choice would give other winners. */
const GENERATION = 1;
const BASIS_CHARACTERS = 16;

/** One shape to be tuned: the lane as it is without a tuner, and what its tuning is valid for. */
export interface TuningTarget {
  spec: LaneSpec;
  key: TuningKey;
}

/** @param spec with the options that are given, never with those of a winner */
export function targetOf(spec: LaneSpec, environment: string): TuningTarget {
  const { held, shapeKey } = spec;
  return { spec, key: { environment, modelDigest: held.files.digest, basis: basisOf(spec), shapeKey } };
}

/** Digest of all that decides the choice beside device, libraries, model and shape. */
function basisOf({ held, providers, fallback, options, memoryCap }: LaneSpec): string {
  const { name, version, config, sampleFiles } = held;
  const sorted = (map: Record<string, string>) => Object.entries(map).sort(([a], [b]) => (a < b ? -1 : 1));
  const given = [options.provider, options.session, options.run].map(sorted);
  const samples = [config.inputs, [...sampleFiles].map(([input, { sha256 }]) => [input, sha256])];
  const tolerance = config.tolerance?.relative ?? null;
  const facts = [GENERATION, name, version, providers, fallback, given, memoryCap, tolerance, samples];
  return createHash('sha256').update(JSON.stringify(facts)).digest('hex').slice(0, BASIS_CHARACTERS);
}
