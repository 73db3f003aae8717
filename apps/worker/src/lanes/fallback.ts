import { createHash } from 'node:crypto';
import { Inject, Injectable } from '@nestjs/common';
import { type NamedTensor, type ParsedOptions, parseOptionsByProvider, WarmlaneError } from '@warmlane/contracts';
import type { Logger } from '@warmlane/observability';
import { IdentityService } from '../identity/identity.service.js';
import { LIMITS } from '../limits.js';
import { LOGGER } from '../logger.js';
import type { HeldVersion } from '../models/held-version.js';
import { FALLBACK, type FallbackRun, isProcessDeath, type ReferencePort, RUNTIME, type RuntimePort } from '../ports.js';
import { WORKER_CONFIG, type WorkerConfig } from '../worker.config.js';
import { modelParams } from './lane-calls.js';
import { providersOf } from './lane-spec.js';
import { Verifier } from './verifier.js';

type Server = FallbackRun['servedBy'];

/** Runs of each candidate after its first; the fastest counts. */
const TIMED_RUNS = 3;

/**
 * Serves requests that have no lane: a CPU session in a process of its own, or on a GPU a plain CUDA session, whichever
 * was measured faster for the model and is right; or always the one that the configuration names.
 */
@Injectable()
export class Fallback {
  /** By what it was made for: see {@link identityOf}. A failed choice is not kept. */
  private readonly choices = new Map<string, { held: HeldVersion; server: Promise<Server> }>();

  constructor(
    @Inject(FALLBACK) private readonly cpu: Pick<ReferencePort, 'call'>,
    @Inject(RUNTIME) private readonly runtime: Pick<RuntimePort, 'call'>,
    @Inject(IdentityService) private readonly identity: Pick<IdentityService, 'provider'>,
    @Inject(Verifier) private readonly verifier: Pick<Verifier, 'expected' | 'judge'>,
    @Inject(WORKER_CONFIG) private readonly config: Pick<WorkerConfig, 'cold'>,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  async run(held: HeldVersion, inputs: NamedTensor[], outputs: string[], timeoutMs: number): Promise<FallbackRun> {
    const server = await this.choice(held, inputs);
    if (server === 'cpu') return await this.onCpu(held, inputs, outputs, timeoutMs);
    try {
      return await this.onCuda(held, inputs, outputs, timeoutMs);
    } catch (thrown) {
      // While the runtime is being started again the CPU serves; a death under this very run is for the caller to judge.
      const away =
        thrown instanceof WarmlaneError && (thrown.code === 'not-ready' || thrown.code === 'device-unhealthy');
      if (!away || isProcessDeath(thrown) !== null || this.config.cold === 'device') throw thrown;
      return await this.onCpu(held, inputs, outputs, timeoutMs);
    }
  }

  isPrepared(held: HeldVersion): boolean {
    return this.choices.has(identityOf(held));
  }

  /** Loads and proves it beforehand, with a sample of the model's own. */
  async prepare(held: HeldVersion, sample: NamedTensor[]): Promise<void> {
    await this.choice(held, sample);
  }

  /** Versions that it holds and that are not served any more, or not with these options. */
  unused(serving: readonly HeldVersion[]): HeldVersion[] {
    const used = new Set(serving.map(identityOf));
    return [...this.choices].filter(([identity]) => !used.has(identity)).map(([, { held }]) => held);
  }

  /** Gives back what it holds of a version alone: the CPU's session is that of all versions with these bytes. */
  async drop(held: HeldVersion): Promise<void> {
    const { digest } = held.files;
    this.choices.delete(identityOf(held));
    const shared = [...this.choices.values()].some((choice) => choice.held.files.digest === digest);
    if (!shared) await this.cpu.call('model.unload', { digest }, { timeoutMs: LIMITS.release });
    if (this.identity.provider === 'cpu') return;
    await this.runtime.call('plain.release', { session: sessionOf(held) }, { timeoutMs: LIMITS.release });
  }

  private async choice(held: HeldVersion, sample: NamedTensor[]): Promise<Server> {
    const identity = identityOf(held);
    let choice = this.choices.get(identity);
    if (choice === undefined) {
      choice = { held, server: this.choose(held, sample) };
      this.choices.set(identity, choice);
      choice.server.catch(() => this.choices.delete(identity));
    }
    return await choice.server;
  }

  /** The fastest of those whose numbers are right for the sample. Throws where none is. */
  private async choose(held: HeldVersion, sample: NamedTensor[]): Promise<Server> {
    const candidates = this.candidates(held);
    const expected = await this.verifier.expected(held, { inputs: sample, cacheKey: null });
    let best: { server: Server; ms: number } | null = null;
    let reason = '';
    for (const server of candidates) {
      const tried = await this.tryServer(held, server, sample, expected);
      if (typeof tried === 'string') reason = tried;
      else if (best === null || tried < best.ms) best = { server, ms: tried };
    }
    const { name, version } = held;
    if (best === null) {
      throw new WarmlaneError(
        'internal',
        `${name}/${version} cannot be served without a lane: ${reason}`,
        'Add the shape to its plan.',
      );
    }
    this.logger.info({ model: name, version, servedBy: best.server, ms: best.ms }, 'fallback chosen');
    return best.server;
  }

  /** A model that the device does not run has the CPU alone, whatever is configured. */
  private candidates(held: HeldVersion): Server[] {
    if (this.identity.provider === 'cpu' || !providersOf(held, 'cuda').includes('cuda')) return ['cpu'];
    const allowed = { auto: ['cuda', 'cpu'], cpu: ['cpu'], device: ['cuda'] } as const;
    return [...allowed[this.config.cold]];
  }

  /** @returns its best time in ms, or why it cannot be used */
  private async tryServer(
    held: HeldVersion,
    server: Server,
    sample: NamedTensor[],
    expected: NamedTensor[],
  ): Promise<number | string> {
    const outputs = held.metadata.outputs.map((output) => output.name);
    const run = () =>
      server === 'cpu'
        ? this.onCpu(held, sample, outputs, LIMITS.first)
        : this.onCuda(held, sample, outputs, LIMITS.first);
    try {
      const first = await run();
      const tf32 = server === 'cuda' && this.optionsOf(held).provider.use_tf32 !== '0';
      const verdict = await this.verifier.judge(held, first.outputs, expected, { provider: server, tf32 });
      if (!verdict.right) return verdict.reason;
      let best = Number.POSITIVE_INFINITY;
      // One candidate needs no race.
      if (this.identity.provider === 'cpu') return first.computeMs;
      for (let at = 0; at < TIMED_RUNS; at += 1) best = Math.min(best, (await run()).computeMs);
      return best;
    } catch (thrown) {
      // The input's own fault is the caller's to see, from the only server there is.
      if (this.identity.provider === 'cpu') throw thrown;
      return WarmlaneError.from(thrown).message;
    }
  }

  private async onCpu(
    held: HeldVersion,
    inputs: NamedTensor[],
    outputs: string[],
    timeoutMs: number,
  ): Promise<FallbackRun> {
    const params = { ...modelParams(held), inputs, outputs, cacheKey: null };
    const run = await this.cpu.call('model.run', params, { timeoutMs });
    return { outputs: run.outputs, copyMs: 0, computeMs: run.computeMs, servedBy: 'cpu' };
  }

  private async onCuda(
    held: HeldVersion,
    inputs: NamedTensor[],
    outputs: string[],
    timeoutMs: number,
  ): Promise<FallbackRun> {
    const params = {
      session: sessionOf(held),
      model: modelParams(held),
      providers: providersOf(held, 'cuda'),
      options: this.optionsOf(held),
      inputs,
      outputs,
      slots: true,
    };
    return { ...(await this.runtime.call('plain.run', params, { timeoutMs, serves: true })), servedBy: 'cuda' };
  }

  private optionsOf(held: HeldVersion): ParsedOptions {
    return parseOptionsByProvider(held.config.options).cuda;
  }
}

/**
 * What a plain session is made with and its numbers are judged by. Versions with the same bytes and other options have
 * one each. The CPU's session has no options of a version's: there the digest is all.
 */
function identityOf({ files, config }: HeldVersion): string {
  const { provider, options, tolerance } = config;
  const made = JSON.stringify([provider, Object.entries(options).sort(), tolerance]);
  return `${files.digest}-${createHash('sha256').update(made).digest('hex').slice(0, 16)}`;
}

function sessionOf(held: HeldVersion): string {
  return `fallback-${identityOf(held)}`;
}
