import type { LaneRun, PlainRunParams } from '@warmlane/contracts';
import type { TrialRuntime, TrialsPort } from '../ports.js';

/** The requests of one batch come one right after the other; nobody else needs the process. */
const KEPT_MS = 1_000;

/**
 * Runs requests one by one in disposable runtimes. One in which all went well takes the next request too: of a batch that a
 * runtime died under only one request is to blame, and a process on a GPU takes seconds to start. What fails in a process
 * that ran others before is run again in a fresh one, and only that counts.
 */
export class LoneRuns {
  private kept: TrialRuntime | null = null;
  private timer: NodeJS.Timeout | null = null;

  /** @param keptMs how long a process waits for the next request, ms */
  constructor(
    private readonly trials: TrialsPort,
    private readonly keptMs: number = KEPT_MS,
  ) {}

  /** Rejects with what it came to in a process of its own: `isProcessDeath` too. */
  async run(params: PlainRunParams, timeoutMs: number): Promise<LaneRun> {
    const used = this.take();
    if (used !== null) {
      try {
        return await this.runIn(used, params, timeoutMs);
      } catch {
        // Those before it may be what it failed of.
      }
    }
    return await this.runIn(await this.trials.open(), params, timeoutMs);
  }

  private async runIn(trial: TrialRuntime, params: PlainRunParams, timeoutMs: number): Promise<LaneRun> {
    try {
      const run = await trial.call('plain.run', params, { timeoutMs });
      await this.keep(trial);
      return run;
    } catch (thrown) {
      await trial[Symbol.asyncDispose]();
      throw thrown;
    }
  }

  private take(): TrialRuntime | null {
    const { kept } = this;
    this.kept = null;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    return kept;
  }

  private async keep(trial: TrialRuntime): Promise<void> {
    // Where two ran at the same time one is enough.
    const other = this.take();
    this.kept = trial;
    this.timer = setTimeout(() => void this.take()?.[Symbol.asyncDispose](), this.keptMs);
    // It dies with this process.
    this.timer.unref();
    await other?.[Symbol.asyncDispose]();
  }
}
