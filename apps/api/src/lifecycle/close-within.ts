import type { Logger } from '@warmlane/observability';

/** One step of an orderly stop. */
export interface CloseStep {
  name: string;
  limitMs: number;
  close: () => unknown;
}

/**
 * Closes one thing after the other. A step that fails or takes longer than its limit is logged and left behind: with
 * Redis gone some never return, and the process ends anyway.
 */
export async function closeInOrder(steps: readonly CloseStep[], log: Logger): Promise<void> {
  for (const step of steps) {
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), step.limitMs);
    });
    try {
      const outcome = await Promise.race([Promise.resolve(step.close()), limit]);
      if (outcome === 'late') log.warn({ step: step.name, limitMs: step.limitMs }, 'closing took too long; going on');
    } catch (error) {
      log.warn({ step: step.name, err: error }, 'closing failed; going on');
    } finally {
      clearTimeout(timer);
    }
  }
}
