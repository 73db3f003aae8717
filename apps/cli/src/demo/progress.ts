/** What a person sees while the demo works. */
export interface Progress {
  /** A line that stays. */
  say(text: string): void;
  /** How far something is; on a terminal one line that is written over, else a line now and then. */
  count(text: string, done: number, total: number): void;
}

const PLAIN_STEPS = 5;

/** Lines with the seconds since the start. */
export function textProgress(output: NodeJS.WriteStream): Progress {
  const startedAt = performance.now();
  const stamp = (): string => `[${((performance.now() - startedAt) / 1_000).toFixed(1).padStart(6)} s]`;
  let open = false;
  const close = (): void => {
    if (open) {
      output.write('\n');
      open = false;
    }
  };
  return {
    say: (text) => {
      close();
      output.write(`${stamp()} ${text}\n`);
    },
    count: (text, done, total) => {
      const line = `${stamp()} ${text} ${done} of ${total}`;
      if (output.isTTY) {
        output.write(`\r\x1b[K${line}`);
        open = true;
        if (done === total) {
          close();
        }
      } else if (done === total || done % Math.ceil(total / PLAIN_STEPS) === 0) {
        output.write(`${line}\n`);
      }
    },
  };
}
