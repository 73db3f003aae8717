import type { ProviderName } from './model-config.js';

/** What an option belongs to: one execution provider, the session, or each run. */
export type OptionScope = ProviderName | 'session' | 'run';

/** Form of an option's values. Canonical forms are ONNX Runtime's own strings. */
export type OptionType =
  /** true, false, 1, 0; canonical `1` and `0`. */
  | { readonly kind: 'bool' }
  /** One of ONNX Runtime's spellings, exactly. */
  | { readonly kind: 'enum'; readonly values: readonly string[] }
  /** A whole number in the range, both ends included. */
  | { readonly kind: 'int'; readonly min: number; readonly max: number }
  /** Bytes as a number, or `512MiB`; canonical decimal. */
  | { readonly kind: 'bytes'; readonly min: number }
  /** Text of a form of its own. */
  | { readonly kind: 'text'; readonly pattern: RegExp; readonly form: string };

export interface ProviderOption {
  /** ONNX Runtime's spelling, unambiguous over all scopes. */
  readonly key: string;
  readonly scope: OptionScope;
  readonly type: OptionType;
  /** ONNX Runtime's own default, in canonical form; empty where it depends on the machine. */
  readonly default: string;
  /** The first ONNX Runtime that knows the key. */
  readonly since: string;
  readonly about: string;
  /** Where this is documented: a page, or the header that declares it. */
  readonly source: string;
  /** Known, but not to be given: Warmlane sets it itself, or does not support it. */
  readonly refused?: string;
}
