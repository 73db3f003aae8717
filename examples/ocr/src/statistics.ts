import { setTimeout as delay } from 'node:timers/promises';

/** Server and workers write their statistics once a second, each for itself. */
const WRITTEN_EVERY_MS = 1_000;

/** Inferences so far and the runs that they took, by the server's statistics, once they have stood still; nobody may ask meanwhile. */
export async function countRuns(url: string, model: string): Promise<{ inferences: number; runs: number }> {
  for (let before = await readCounts(url, model); ; ) {
    await delay(1.5 * WRITTEN_EVERY_MS);
    const now = await readCounts(url, model);
    if (now.inferences === before.inferences && now.runs === before.runs) return now;
    before = now;
  }
}

async function readCounts(url: string, model: string): Promise<{ inferences: number; runs: number }> {
  const response = await fetch(`${url}/v2/models/${model}/versions/1/stats`);
  const { model_stats: stats } = (await response.json()) as {
    model_stats: { inference_count: number; execution_count: number }[];
  };
  return { inferences: stats[0]?.inference_count ?? 0, runs: stats[0]?.execution_count ?? 0 };
}
