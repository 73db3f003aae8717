import {
  checkShapeKey,
  type PlanEntry,
  type ProviderName,
  parseOptionsByProvider,
  parseSize,
  type ServingRules,
  servingRulesOf,
  WarmlaneError,
} from '@warmlane/contracts';
import { type Precision, padFill } from '@warmlane/lanes';
import { type HeldVersion, stringValues } from '../models/held-version.js';
import type { LaneSpec } from './lane.js';

/** The providers a model asks for on a device, in order. */
export function providersOf(held: HeldVersion, device: ProviderName): ProviderName[] {
  const { provider } = held.config;
  if (provider === 'auto') return [device];
  return typeof provider === 'string' ? [provider] : [...provider];
}

/**
 * The lane that a plan entry asks for on a device. Never throws: where this device cannot have it, `refusal` says why
 * (other bytes than registered, a shape that disagrees with the metadata, an unknown option, a provider that is not
 * here, strings).
 */
export function laneSpecOf(
  held: HeldVersion,
  entry: Pick<PlanEntry, 'shapeKey' | 'options'>,
  device: ProviderName,
): LaneSpec {
  const providers = providersOf(held, device);
  const here = providers.filter((provider) => provider === 'cpu' || provider === device);
  const provider = here[0] ?? 'cpu';
  const { memory } = held.config;
  const spec: LaneSpec = {
    held,
    shapeKey: entry.shapeKey,
    // Any batch size of it once that is proven: see LaneProof.
    class: entry.shapeKey,
    rules: { metadata: held.metadata, batch: null, pad: null },
    fill: {},
    inputs: [],
    outputs: held.metadata.outputs.map((output) => output.name),
    providers: here,
    provider,
    fallback: held.config.fallback,
    options: { provider: {}, session: {}, run: {} },
    tuned: null,
    memoryCap: memory === undefined ? null : parseSize(memory),
    refusal: held.refusal,
  };
  try {
    spec.inputs = checkShapeKey(held.metadata, entry.shapeKey).inputs;
    spec.rules = servingRulesOf(held.metadata, held.config);
    spec.fill = fillOf(spec.rules);
    // The yaml's options, over them those of the warm-up that named the shape last.
    spec.options = parseOptionsByProvider({ ...held.config.options, ...entry.options })[provider];
    checkProviders(held, device, here.length, providers);
    checkStrings(held);
  } catch (thrown) {
    const { message, hint } = WarmlaneError.from(thrown);
    spec.refusal ??= hint === '' ? message : `${message}. ${hint}`;
  }
  return spec;
}

function fillOf({ pad, metadata }: ServingRules): LaneSpec['fill'] {
  return pad === null ? {} : padFill(pad, metadata.inputs);
}

function checkProviders(held: HeldVersion, device: ProviderName, here: number, listed: ProviderName[]): void {
  if (here > 0 && (held.config.fallback === 'allow' || here === listed.length)) return;
  throw new WarmlaneError(
    'not-supported',
    `provider ${listed.join(', ')}: this worker has ${device === 'cpu' ? 'cpu' : 'cpu and cuda'}`,
    "List a provider that it has, or set 'fallback: allow'",
  );
}

function checkStrings(held: HeldVersion): void {
  const strings = stringValues(held.metadata);
  if (strings.length === 0) return;
  throw new WarmlaneError(
    'not-supported',
    `${strings.join(', ')}: no fixed buffer can be bound for strings`,
    'Leave the shape out of the plan, the model is served without lanes',
  );
}

/** How exactly a lane can be expected to compute. */
export function precisionOf(spec: Pick<LaneSpec, 'provider' | 'options'>): Precision {
  return { provider: spec.provider, tf32: spec.provider === 'cuda' && spec.options.provider.use_tf32 !== '0' };
}
