import { createLogger, type LogLevel } from '@warmlane/observability';

/** One line for the person or collector that reads stderr. stdout is for results alone. */
export type Log = (text: string) => void;

/** For a process whose children log JSON lines on the same stderr: the same form. */
export function jsonLog(role: string, level: LogLevel): Log {
  const logger = createLogger({ role, level });
  return (text) => logger.info(text);
}

/** Plain lines on stderr, for commands that a person waits for. */
export const plainLog: Log = (text) => {
  process.stderr.write(`${text}\n`);
};
