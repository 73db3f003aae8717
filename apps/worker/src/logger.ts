/** Injects the process's logger (pino, to stderr). */
export const LOGGER = Symbol('Logger');
