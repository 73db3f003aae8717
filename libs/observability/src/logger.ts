import { type DestinationStream, type Level, type Logger, pino } from 'pino';

export type { Logger } from 'pino';

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface LoggerOptions {
  /** The process's role (`api`, `worker`, ...): field `role` of every line. */
  role: string;
  level: LogLevel;
  /** Where the lines go; default stderr, so that stdout stays free for what a person asked for. */
  destination?: DestinationStream;
}

/** One JSON object a line, with ISO time and the level's name. Lines still in the buffer are flushed at exit. */
export function createLogger(options: LoggerOptions): Logger {
  return pino(
    {
      level: options.level,
      base: { role: options.role, pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label: string) => ({ level: label as Level }) },
    },
    options.destination ?? pino.destination({ dest: 2, sync: false }),
  );
}
