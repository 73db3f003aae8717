import type { NamedTensor } from '@warmlane/contracts';
import type { SeededRandom } from '../support/seeded-random.js';
import { drawInputs, TRAFFIC, type TrafficShape } from './catalogue.fixture.js';
import { accept, type Judged, untilEnded } from './http-load.fixture.js';
import type { Oracle } from './oracle.fixture.js';
import type { BareClient } from './queue-load.fixture.js';
import { acceptWarmup, followWarmup } from './warmup-load.fixture.js';

/** All lanes are warmed anew first. */
const WARM_MS = 120_000;

interface Inference {
  id: string;
  shape: TrafficShape;
  inputs: readonly NamedTensor[];
}

/** What a system has promised to do: asynchronous inferences, jobs of both entry queues, a warm-up. */
export class AcceptedWork {
  private constructor(
    private readonly inferences: readonly Inference[],
    private readonly jobs: readonly Inference[],
    private readonly warmup: string,
    private readonly warmJob: string,
  ) {}

  get count(): number {
    return this.inferences.length + this.jobs.length + 2;
  }

  /** One asynchronous inference and one job of each shape, and two warm-ups. Resolves once all of it is accepted. */
  static async give(url: string, client: BareClient, random: SeededRandom): Promise<AcceptedWork> {
    const inferences: Inference[] = [];
    const jobs: Inference[] = [];
    for (const shape of TRAFFIC) {
      const [one, other] = [drawInputs(shape, random), drawInputs(shape, random)];
      const accepted = await accept({ url }, shape, one);
      if ('outcome' in accepted) throw new Error(`not accepted: ${accepted.outcome} ${accepted.detail}`);
      inferences.push({ id: accepted.id, shape, inputs: one });
      jobs.push({ id: await client.infer(shape, other), shape, inputs: other });
    }
    const warmup = await acceptWarmup(url, 'x:float32[1,3,9,9]', WARM_MS);
    const warmJob = await client.warm('conv', 'x:float32[1,3,9,10]', WARM_MS);
    return new AcceptedWork(inferences, jobs, warmup, warmJob);
  }

  /** What of it a system did not do right, one line each. */
  async problems(url: string, client: BareClient, oracle: Oracle): Promise<string[]> {
    const line = (what: string, { id, shape }: Inference, { outcome, detail }: Judged): string[] =>
      outcome === 'right' ? [] : [`${what} ${id} of ${shape.model}: ${outcome} ${detail}`];
    const ended = await Promise.all([
      ...this.inferences.map(async (each) =>
        line('inference', each, await untilEnded({ url, oracle }, each.id, each.shape, each.inputs)),
      ),
      ...this.jobs.map(async (each) =>
        line('job', each, await client.inferred({ oracle }, each.id, each.shape, each.inputs)),
      ),
      followWarmup(url, this.warmup).then(({ state }) =>
        state === 'ready' ? [] : [`warm-up ${this.warmup} ended ${state}`],
      ),
      client.warmed(this.warmJob, WARM_MS).then((end) => {
        const text = JSON.stringify(end);
        return end.state === 'completed' && /"state":"ready"/.test(text) ? [] : [`job ${this.warmJob}: ${text}`];
      }),
    ]);
    return ended.flat();
  }
}
