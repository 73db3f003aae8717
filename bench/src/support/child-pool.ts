import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';

/** How a child says that it could not do its task. */
export interface Failed {
  kind: 'failed';
  why: string;
}

/** Programs that put load on the system, each a process of its own, so that no event loop of the bench stands between. */
export class ChildPool<Task extends object, Result extends { kind: string }> implements AsyncDisposable {
  private constructor(private readonly all: readonly ChildProcess[]) {}

  /**
   * Several where there are cores for them, or as many as asked. Each says `ready` once it is.
   *
   * @param program a file beside this one
   */
  static async start<Task extends object, Result extends { kind: string }>(
    program: string,
    args: readonly string[],
    count = availableParallelism() >= 8 ? 4 : 1,
  ): Promise<ChildPool<Task, Result>> {
    const all = Array.from({ length: count }, () => fork(new URL(program, import.meta.url), args));
    await Promise.all(all.map((one) => once(one, 'message')));
    return new ChildPool<Task, Result>(all);
  }

  get count(): number {
    return this.all.length;
  }

  /** Each does its task at the same time. Rejects where one fails. */
  async run(task: (at: number) => Task): Promise<Exclude<Result, Failed>[]> {
    return Promise.all(
      this.all.map(async (one, at) => {
        const answer = once(one, 'message');
        one.send(task(at));
        const [result] = (await answer) as [Result];
        if (isFailed(result)) throw new Error(result.why);
        return result as Exclude<Result, Failed>;
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const one of this.all) one.disconnect();
    await Promise.all(this.all.filter((one) => one.exitCode === null).map((one) => once(one, 'exit')));
  }
}

function isFailed(result: { kind: string }): result is Failed {
  return result.kind === 'failed';
}

/** The child's side: does each task that it is sent and says what came of it; ends with its parent. */
export function serveTasks<Task, Result extends { kind: string }>(
  run: (task: Task) => Promise<Result>,
  close: () => void | Promise<void>,
): void {
  process.on('message', (task: Task) => {
    run(task).then(
      (result) => process.send?.(result),
      (error: unknown) => process.send?.({ kind: 'failed', why: String(error) }),
    );
  });
  process.on('disconnect', () => {
    void Promise.resolve(close()).finally(() => process.exit(0));
  });
  process.send?.('ready');
}
