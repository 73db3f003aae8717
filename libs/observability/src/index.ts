export * from './logger.js';
export * from './metrics.js';
export * from './stall-monitor.js';
