import { readFile } from 'node:fs/promises';
import { z } from 'zod';

const moveSchema = z.object({
  msg: z.literal('lane'),
  time: z.iso.datetime().transform((time) => Date.parse(time)),
  lane: z.string(),
  shapeKey: z.string(),
  from: z.string(),
  to: z.string(),
});
const choiceSchema = z.object({
  msg: z.literal('fallback chosen'),
  model: z.string(),
  servedBy: z.enum(['cpu', 'cuda']),
});

/** A lane went from a state to another one; `time` is ms since 1970. */
export type LaneMove = z.infer<typeof moveSchema>;

/**
 * What a worker's log says. Its line for a change of a lane's state is written, with the time to the ms, before the next
 * native step begins: `CAPTURING` stands before the capture, `MEASURING` right after it (two commands to Redis lie between).
 */
export class WorkerLog {
  private constructor(private readonly lines: readonly unknown[]) {}

  static async read(file: string): Promise<WorkerLog> {
    const lines = (await readFile(file, 'utf8')).split('\n').filter((line) => line.startsWith('{'));
    // The last one may be half written.
    return new WorkerLog(lines.flatMap((line): unknown[] => parsed(line)));
  }

  /** Changes of lanes at or after a time, in order. */
  moves(since = 0): LaneMove[] {
    return this.lines.flatMap((line) => {
      const move = moveSchema.safeParse(line);
      return move.success && move.data.time >= since ? [move.data] : [];
    });
  }

  /** What serves each model's requests that have no lane: the last choice. */
  coldServers(): Map<string, 'cpu' | 'cuda'> {
    const choices = this.lines.flatMap((line) => {
      const choice = choiceSchema.safeParse(line);
      return choice.success ? [choice.data] : [];
    });
    return new Map(choices.map(({ model, servedBy }) => [model, servedBy]));
  }
}

function parsed(line: string): unknown[] {
  try {
    return [JSON.parse(line)];
  } catch {
    return [];
  }
}

/** The span of each capture, ms since 1970. */
export function captureSpans(moves: readonly LaneMove[]): { lane: string; from: number; until: number }[] {
  return moves.flatMap(({ lane, from, to, time }) => {
    if (from !== 'CAPTURING' || to !== 'MEASURING') return [];
    const begun = moves.findLast((move) => move.lane === lane && move.to === 'CAPTURING' && move.time <= time);
    return begun === undefined ? [] : [{ lane, from: begun.time, until: time }];
  });
}
