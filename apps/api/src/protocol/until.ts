import type { Notice, Notices } from '@warmlane/redis';

/** Notices are hints and may be lost: this often it is looked without one. */
const LOOK_EVERY_MS = 500;

/**
 * Looks until there is a result: at once, at every notice of a worker about the model, and twice a second. `heard` is
 * how many such notices came so far. null after the limit, or when the signal is aborted.
 */
export async function untilModel<T>(
  model: string,
  limitMs: number,
  notices: Notices,
  signal: AbortSignal,
  look: (heard: number) => Promise<T | null>,
): Promise<T | null> {
  const giveUpAt = performance.now() + limitMs;
  let heard = 0;
  let wake: () => void = () => undefined;
  const unsubscribe = await notices.subscribe((notice: Notice) => {
    // Version null is what the repository API itself says.
    const ofWorker = notice.kind === 'load' || (notice.kind === 'model' && notice.version !== null);
    if (!ofWorker || notice.model !== model) return;
    heard += 1;
    wake();
  });
  try {
    for (;;) {
      const result = await look(heard);
      if (result !== null) return result;
      const left = giveUpAt - performance.now();
      if (left <= 0 || signal.aborted) return null;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(left, LOOK_EVERY_MS));
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  } finally {
    unsubscribe();
  }
}
