import type { ProviderName } from './model-config.js';
import { OptionError } from './option-error.js';
import type { OptionScope, OptionType, ProviderOption } from './provider-option.js';
import { PROVIDER_OPTIONS } from './provider-option-table.js';
import type { ParsedOptions } from './runtime-protocol.js';

export type OptionValue = string | number | boolean;
export type OptionRecord = Readonly<Record<string, unknown>>;

const BY_KEY = new Map(PROVIDER_OPTIONS.map((option) => [option.key, option]));

/** The option of this key, or null. */
export function findOption(key: string): ProviderOption | null {
  return BY_KEY.get(key) ?? null;
}

/**
 * Options of one scope in canonical form. Throws {@link OptionError} (`bad-request`) for an unknown key, naming the
 * nearest known one, for one of another scope, for one that is refused, and for a bad value, naming what is allowed.
 */
export function parseOptions(scope: OptionScope, given: OptionRecord): Record<string, string> {
  const parsed: Record<string, string> = {};
  for (const [key, value] of Object.entries(given)) {
    const option = requireOption(key, [scope]);
    parsed[option.key] = parseValue(option, value);
  }
  return parsed;
}

/**
 * The flat `options` of a model split by scope, for one provider: its own options, the session's and the run's. Throws
 * as {@link parseOptions}; an option of the other provider is refused too.
 */
export function parseModelOptions(provider: ProviderName, given: OptionRecord): ParsedOptions {
  const parsed: ParsedOptions = { provider: {}, session: {}, run: {} };
  for (const [key, value] of Object.entries(given)) {
    const option = requireOption(key, [provider, 'session', 'run']);
    const part = option.scope === 'session' || option.scope === 'run' ? option.scope : 'provider';
    parsed[part][option.key] = parseValue(option, value);
  }
  return parsed;
}

/**
 * The flat `options` of a model whose provider is chosen where it runs (`auto`, a list): every option is checked, and
 * each provider gets its own. Throws as {@link parseOptions}.
 */
export function parseOptionsByProvider(given: OptionRecord): Record<ProviderName, ParsedOptions> {
  const scopes: OptionScope[] = ['cpu', 'cuda', 'session', 'run'];
  const parsed: Record<OptionScope, Record<string, string>> = { cpu: {}, cuda: {}, session: {}, run: {} };
  for (const [key, value] of Object.entries(given)) {
    const option = requireOption(key, scopes);
    parsed[option.scope][option.key] = parseValue(option, value);
  }
  const { session, run } = parsed;
  return {
    cpu: { provider: parsed.cpu, session: { ...session }, run: { ...run } },
    cuda: { provider: parsed.cuda, session: { ...session }, run: { ...run } },
  };
}

/** The inverse of {@link parseOptions}: booleans and numbers where the option has them, all else as it stands. */
export function printOptions(
  scope: OptionScope,
  parsed: Readonly<Record<string, string>>,
): Record<string, OptionValue> {
  const printed: Record<string, OptionValue> = {};
  for (const [key, value] of Object.entries(parsed)) printed[key] = printValue(requireOption(key, [scope]), value);
  return printed;
}

/** The flat form that {@link parseModelOptions} reads. */
export function printModelOptions(provider: ProviderName, parsed: ParsedOptions): Record<string, OptionValue> {
  return {
    ...printOptions(provider, parsed.provider),
    ...printOptions('session', parsed.session),
    ...printOptions('run', parsed.run),
  };
}

function requireOption(key: string, scopes: readonly OptionScope[]): ProviderOption {
  const option = BY_KEY.get(key);
  if (option === undefined) {
    const candidates = PROVIDER_OPTIONS.filter((known) => scopes.includes(known.scope) && known.refused === undefined);
    const nearest = nearestKey(
      key,
      candidates.map((candidate) => candidate.key),
    );
    throw new OptionError(key, nearest, `unknown option '${key}'`, `Did you mean '${nearest}'?`);
  }
  if (!scopes.includes(option.scope)) {
    const text = `'${key}' is an option of ${option.scope}, not of ${scopes.join(', ')}`;
    throw new OptionError(key, null, text, `Remove it, or choose the provider that has it.`);
  }
  if (option.refused !== undefined) {
    throw new OptionError(key, null, `option '${key}' cannot be given`, option.refused);
  }
  return option;
}

function parseValue(option: ProviderOption, value: unknown): string {
  const { type } = option;
  const text =
    typeof value === 'string' ? value : typeof value === 'number' || typeof value === 'boolean' ? `${value}` : null;
  const canonical = text === null ? null : canonicalValue(type, text);
  if (canonical !== null) return canonical;
  const shown = text ?? JSON.stringify(value) ?? String(value);
  throw new OptionError(
    option.key,
    null,
    `option '${option.key}' cannot be '${shown}'`,
    `Allowed: ${describeType(type)}; default ${option.default === '' ? 'by the machine' : option.default}.`,
  );
}

const BOOLS: Record<string, string> = { '0': '0', '1': '1', false: '0', true: '1', False: '0', True: '1' };
const UNITS: Record<string, bigint> = { '': 1n, KiB: 2n ** 10n, MiB: 2n ** 20n, GiB: 2n ** 30n };
/** size_t of a 64-bit machine. */
const MAX_BYTES = 2n ** 64n - 1n;

/** The canonical form, or null for what the type does not allow. */
function canonicalValue(type: OptionType, text: string): string | null {
  switch (type.kind) {
    case 'bool':
      return Object.hasOwn(BOOLS, text) ? (BOOLS[text] ?? null) : null;
    case 'enum':
      return type.values.includes(text) ? text : null;
    case 'int': {
      if (!/^-?[0-9]{1,15}$/.test(text)) return null;
      const number = Number(text);
      return number >= type.min && number <= type.max ? String(number) : null;
    }
    case 'bytes': {
      const match = /^([0-9]{1,20})(KiB|MiB|GiB|)$/.exec(text);
      if (match === null) return null;
      const bytes = BigInt(match[1] ?? '') * (UNITS[match[2] ?? ''] ?? 1n);
      return bytes >= BigInt(type.min) && bytes <= MAX_BYTES ? String(bytes) : null;
    }
    case 'text':
      return type.pattern.test(text) ? text : null;
  }
}

function printValue(option: ProviderOption, value: string): OptionValue {
  switch (option.type.kind) {
    case 'bool':
      return value === '1';
    case 'int':
      return Number(value);
    case 'bytes':
      return Number.isSafeInteger(Number(value)) ? Number(value) : value;
    case 'enum':
    case 'text':
      return value;
  }
}

/** What a type allows, for people. */
export function describeType(type: OptionType): string {
  switch (type.kind) {
    case 'bool':
      return 'true or false (1, 0)';
    case 'enum':
      return type.values.join(', ');
    case 'int':
      return `a whole number from ${type.min} to ${type.max}`;
    case 'bytes':
      return `bytes, at least ${type.min}, as a number or such as 512MiB`;
    case 'text':
      return type.form;
  }
}

/** Case, `_` and `.` do not count: `cudnnConvAlgoSearch` is near to `cudnn_conv_algo_search`. */
function nearestKey(key: string, candidates: readonly string[]): string {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
  let best = candidates[0] ?? '';
  let bestDistance = Number.POSITIVE_INFINITY;
  for (const candidate of candidates) {
    // `allow_spinning` alone names `session.intra_op.allow_spinning`.
    const distance = Math.min(
      editDistance(plain(key), plain(candidate)),
      1 + editDistance(plain(key), plain(candidate.slice(candidate.lastIndexOf('.') + 1))),
    );
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein's distance. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substitution, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}
