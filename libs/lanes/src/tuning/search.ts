import {
  type ParsedOptions,
  type ProviderName,
  parseModelOptions,
  printModelOptions,
  type TuningCandidate,
} from '@warmlane/contracts';
import { type CandidateRule, candidateRules, canonicalOptions, changed, type TuningTraits } from './candidates.js';

/** What is known about the candidates of one shape; every trial adds one. */
export interface ShapeFindings {
  shapeKey: string;
  found: readonly TuningCandidate[];
}

/** One candidate, to be tried with some shapes in one process. */
export interface Trial {
  name: string;
  shapes: { shapeKey: string; options: ParsedOptions }[];
}

/** Right, and its latency is known. */
export function isRight({ outcome, p50Ms }: TuningCandidate): boolean {
  return p50Ms !== null && (outcome === 'measured' || outcome === 'won' || outcome === 'slower');
}

/**
 * The next trial, from what was found so far alone: whoever goes on with a search that another one left makes the same
 * trials. Null once nothing is left to try.
 */
export function nextTrial(traits: TuningTraits, given: ParsedOptions, shapes: readonly ShapeFindings[]): Trial | null {
  const early = candidateRules(traits, given, false).filter((rule) => rule.stage === 1);
  const pending = trialOf(early, traits, given, shapes);
  if (pending !== null) return pending;
  const noneRight = shapes.some(({ found }) => isWrongInEverySearch(early, found));
  return trialOf(candidateRules(traits, given, noneRight), traits, given, shapes);
}

function trialOf(
  rules: readonly CandidateRule[],
  traits: TuningTraits,
  given: ParsedOptions,
  shapes: readonly ShapeFindings[],
): Trial | null {
  for (const rule of rules) {
    const pending = shapes.flatMap(({ shapeKey, found }) => {
      if (found.some((candidate) => candidate.name === rule.name)) return [];
      const options = changed(
        rule.over === 'given' ? given : bestOptions(rules, rule, traits, given, found),
        rule.change,
      );
      const canonical = canonicalOptions(traits.provider, options);
      const tried = found.some((candidate) => canonicalOf(traits.provider, candidate) === canonical);
      return tried ? [] : [{ shapeKey, options }];
    });
    if (pending.length > 0) return { name: rule.name, shapes: pending };
  }
  return null;
}

/** Those of the fastest right candidate of the stages before; else of the first that at least ran. */
function bestOptions(
  rules: readonly CandidateRule[],
  { stage }: CandidateRule,
  { provider }: TuningTraits,
  given: ParsedOptions,
  found: readonly TuningCandidate[],
): ParsedOptions {
  // `ort-defaults` of CUDA is there to be compared with; what is built on has a graph where one is possible.
  const usable = rules.filter((rule) => rule.stage < stage && (provider === 'cpu' || rule.name !== 'ort-defaults'));
  const names = new Set(usable.map((rule) => rule.name));
  const before = found.filter((candidate) => names.has(candidate.name));
  const [fastest] = before.filter(isRight).sort((a, b) => (a.p50Ms ?? 0) - (b.p50Ms ?? 0));
  const base = fastest ?? before.find((candidate) => candidate.outcome === 'wrong-numbers');
  return base === undefined ? given : parseModelOptions(provider, base.options);
}

/** Its searches ran and their numbers are not right enough: what tf32 may be to blame for. */
function isWrongInEverySearch(early: readonly CandidateRule[], found: readonly TuningCandidate[]): boolean {
  const names = new Set(early.map((rule) => rule.name));
  const searched = found.filter((candidate) => names.has(candidate.name) && candidate.name !== 'ort-defaults');
  return searched.some((candidate) => candidate.outcome === 'wrong-numbers') && !searched.some(isRight);
}

function canonicalOf(provider: ProviderName, candidate: TuningCandidate): string {
  return canonicalOptions(provider, parseModelOptions(provider, candidate.options));
}

/** The candidate that makes the lane which the given options make; null where it was not tried. */
export function incumbentOf(
  provider: ProviderName,
  given: ParsedOptions,
  found: readonly TuningCandidate[],
): TuningCandidate | null {
  const canonical = canonicalOptions(provider, given);
  return found.find((candidate) => canonicalOf(provider, candidate) === canonical) ?? null;
}

/** The candidate that is ONNX Runtime's defaults, as far as the given options leave them. */
export function defaultsOf(found: readonly TuningCandidate[]): TuningCandidate | null {
  return found.find(({ name }) => name === 'ort-defaults' || name === 'configured') ?? null;
}

/**
 * The options of lanes that a choice makes. Exactly those that are given where they make the same lane, so that none is
 * made anew for nothing.
 */
export function optionsOfChoice(provider: ProviderName, given: ParsedOptions, chosen: TuningCandidate): ParsedOptions {
  const options = parseModelOptions(provider, chosen.options);
  return canonicalOptions(provider, options) === canonicalOptions(provider, given) ? given : options;
}

/** A candidate of which nothing is known but what came of it. */
export function withoutFigures(
  provider: ProviderName,
  name: string,
  options: ParsedOptions,
  end: Pick<TuningCandidate, 'outcome' | 'reason'> & { signal?: string | null },
): TuningCandidate {
  return {
    name,
    options: printModelOptions(provider, options),
    firstMs: null,
    p50Ms: null,
    p99Ms: null,
    relativeError: null,
    memoryBytes: null,
    signal: null,
    ...end,
  };
}
