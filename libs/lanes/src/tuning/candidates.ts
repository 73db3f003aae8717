import { findOption, type OptionScope, type ParsedOptions, type ProviderName } from '@warmlane/contracts';

/** What of a model and a device decides which options are worth a trial. */
export interface TuningTraits {
  provider: ProviderName;
  /** The graph has convolutions: the options of cuDNN's convolutions have something to act on. */
  conv: boolean;
  /** One of them is 1-d. */
  conv1d: boolean;
  /** float32 comes in or goes out: tf32 is a choice. */
  float32: boolean;
  /** Cores that the process may use. */
  cpus: number;
}

/** Options that a candidate sets over those that are given, all of one scope. */
interface Change {
  scope: OptionScope;
  set: Readonly<Record<string, string>>;
}

/** One named candidate, as it is made for every shape. */
export interface CandidateRule {
  name: string;
  change: Change | null;
  /** `given`: over the given options; `best`: over those of the fastest right one of the stages before, by shape. */
  over: 'given' | 'best';
  stage: number;
}

/** No more candidates than this are tried of a model. */
export const MOST_CANDIDATES = 12;

/** What a CUDA lane has unless told otherwise; what it has not is ONNX Runtime's default. */
const CUDA_LANE: Readonly<Record<string, string>> = { enable_cuda_graph: '1', intra_op_num_threads: '1' };

/** Keys that say the same: whoever gave the one has decided the other. */
const SAME_AS: Readonly<Record<string, string>> = { enable_cpu_mem_arena: 'use_arena' };

const SEARCHES = ['EXHAUSTIVE', 'HEURISTIC', 'DEFAULT'] as const;
const NO_TF32 = { use_tf32: '0' } as const;

const cuda = (set: Record<string, string>): Change => ({ scope: 'cuda', set });
const session = (set: Record<string, string>): Change => ({ scope: 'session', set });

/**
 * The candidates of a model in the order of their trials, at most 12. None changes a key that is given. The first is what
 * the user has without a tuner, or on CUDA ONNX Runtime's defaults, which have no graph.
 * @param noneRight a shape has no right candidate among the algorithm searches: tf32 is then switched off in each of them
 */
export function candidateRules(traits: TuningTraits, given: ParsedOptions, noneRight: boolean): CandidateRule[] {
  const rules = traits.provider === 'cpu' ? cpuRules(traits, given) : cudaRules(traits, given, noneRight);
  return rules.filter(({ change }) => change === null || mayChange(given, change)).slice(0, MOST_CANDIDATES);
}

function cpuRules({ cpus }: TuningTraits, given: ParsedOptions): CandidateRule[] {
  const threads = [...new Set([1, Math.floor(cpus / 2), Math.floor(cpus)])].filter((count) => count >= 1);
  const first = (name: string, change: Change | null): CandidateRule => ({ name, change, over: 'given', stage: 1 });
  const second = (name: string, change: Change): CandidateRule => ({ name, change, over: 'best', stage: 2 });
  return [
    first(isEmpty(given) ? 'ort-defaults' : 'configured', null),
    ...threads.map((count) => first(`threads-${count}`, session({ intra_op_num_threads: String(count) }))),
    second('no-spinning', session({ 'session.intra_op.allow_spinning': '0' })),
    second('no-memory-pattern', session({ enable_mem_pattern: '0' })),
    second('no-arena', session({ enable_cpu_mem_arena: '0' })),
    second('optimization-extended', session({ graph_optimization_level: 'ORT_ENABLE_EXTENDED' })),
    second('optimization-basic', session({ graph_optimization_level: 'ORT_ENABLE_BASIC' })),
  ];
}

function cudaRules({ conv, conv1d, float32 }: TuningTraits, given: ParsedOptions, noneRight: boolean): CandidateRule[] {
  const rule = (stage: number, over: CandidateRule['over']) => {
    return (name: string, change: Change | null): CandidateRule => ({ name, change, over, stage });
  };
  const first = rule(1, 'given');
  const searches = conv && given.provider.cudnn_conv_algo_search === undefined ? SEARCHES : [];
  const tf32 = float32 && given.provider.use_tf32 === undefined;
  const asGiven = first(isEmpty(given) ? 'graph' : 'configured', null);
  const bySearch = (make: typeof first, more: Record<string, string>, suffix: string) =>
    searches.map((search) =>
      make(`${search.toLowerCase()}${suffix}`, cuda({ cudnn_conv_algo_search: search, ...more })),
    );
  // conv1d_pad_to_nc1d 0, max_workspace 1 and tf32 are ONNX Runtime's defaults: the searches themselves try them.
  return [
    first('ort-defaults', cuda({ enable_cuda_graph: '0' })),
    ...(searches.length === 0 ? [asGiven] : bySearch(first, {}, '')),
    // An algorithm that is fastest with tf32 may be the slowest without: 15.6 ms HEURISTIC, 1.8 EXHAUSTIVE (H100, rec).
    ...(tf32 && noneRight && searches.length > 0 ? bySearch(rule(2, 'given'), NO_TF32, '-no-tf32') : []),
    ...(tf32 && !(noneRight && searches.length > 0) ? [rule(2, 'best')('no-tf32', cuda(NO_TF32))] : []),
    ...(conv ? [rule(3, 'best')('workspace-0', cuda({ cudnn_conv_use_max_workspace: '0' }))] : []),
    ...(conv1d ? [rule(3, 'best')('conv1d-pad-1', cuda({ cudnn_conv1d_pad_to_nc1d: '1' }))] : []),
    rule(3, 'best')('arena-as-requested', cuda({ arena_extend_strategy: 'kSameAsRequested' })),
    ...(conv
      ? [
          rule(3, 'best')('nhwc', cuda({ prefer_nhwc: '1' })),
          rule(3, 'best')('fused-conv-bias', cuda({ fuse_conv_bias: '1' })),
        ]
      : []),
  ];
}

function mayChange(given: ParsedOptions, { set }: Change): boolean {
  return Object.keys(set).every((key) => !isGiven(given, key) && !isGiven(given, SAME_AS[key] ?? key));
}

function isGiven({ provider, session: ofSession, run }: ParsedOptions, key: string): boolean {
  return provider[key] !== undefined || ofSession[key] !== undefined || run[key] !== undefined;
}

function isEmpty({ provider, session: ofSession, run }: ParsedOptions): boolean {
  return [provider, ofSession, run].every((part) => Object.keys(part).length === 0);
}

/** Options with a candidate's change over them. */
export function changed(options: ParsedOptions, change: Change | null): ParsedOptions {
  if (change === null) return options;
  return change.scope === 'session'
    ? { ...options, session: { ...options.session, ...change.set } }
    : { ...options, provider: { ...options.provider, ...change.set } };
}

/**
 * A text that is the same for options that make the same lane: an option at its default is as if it were not given.
 */
export function canonicalOptions(
  provider: ProviderName,
  { provider: own, session: ofSession, run }: ParsedOptions,
): string {
  const whole = { ...(provider === 'cuda' ? CUDA_LANE : {}), ...run, ...ofSession, ...own };
  const set = Object.entries(whole).filter(([key, value]) => findOption(key)?.default !== value);
  return JSON.stringify(set.sort(([a], [b]) => (a < b ? -1 : 1)));
}
