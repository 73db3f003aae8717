/** Injects the process's logger (pino, to stderr). */
export const LOGGER = Symbol('Logger');

/** Injects the process's stall monitor: whoever begins a job says so, so that a stall can name it. */
export const MONITOR = Symbol('StallMonitor');
