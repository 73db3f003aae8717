import { type ClassJob, type NamedTensor, WarmlaneError } from '@warmlane/contracts';
import type { RedisClock } from '@warmlane/redis';
import { isProcessDeath, type LanesPort } from '../ports.js';
import { DEATHS_TO_POISON, type ServingOptions } from './serving.settings.js';
import type { Suspects } from './suspects.js';
import { deadlineExceeded, type Served } from './work.js';

/**
 * Who pays for a death: a request that was executing when a runtime died runs again alone, in a runtime that serves
 * nobody else. Only a death there is charged to it; the second makes it poison. A runtime killed from outside is charged
 * to nobody. One request at a time.
 */
export class Trials {
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly port: LanesPort,
    private readonly clock: RedisClock,
    private readonly suspects: Suspects,
    private readonly options: ServingOptions,
  ) {}

  /** Rejects with `poison`, `deadline-exceeded`, or what the run failed with. */
  run(request: ClassJob, inputs: NamedTensor[]): Promise<Omit<Served, 'items'>> {
    const result = this.#last.then(() => this.#alone(request, inputs));
    this.#last = result.catch(() => undefined);
    return result;
  }

  async #alone(request: ClassJob, inputs: NamedTensor[]): Promise<Omit<Served, 'items'>> {
    let deaths = (await this.suspects.deaths(request.request)) ?? 0;
    for (;;) {
      if (deaths >= DEATHS_TO_POISON) {
        throw new WarmlaneError(
          'poison',
          `this request ended a runtime ${deaths} times while it ran alone`,
          'Check its inputs: the same request will not be run again.',
        );
      }
      const startedAt = this.clock.now();
      if (request.deadlineAt <= startedAt) throw deadlineExceeded(request);
      const { model, version, outputs } = request;
      try {
        const timeoutMs = this.options.laneLimitMs;
        const run = await this.port.trialRun(model, version, inputs, outputs, { timeoutMs });
        await this.suspects.clear(request.request);
        return { lane: 'cold', run, startedAt };
      } catch (thrown) {
        const death = isProcessDeath(thrown);
        if (death === null) throw thrown;
        if (!death.external && !death.planned) deaths = await this.suspects.charge(request.request);
      }
    }
  }
}
