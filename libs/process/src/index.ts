export { cacheFolder } from './cache-folder.js';
export { findOnPath } from './find-on-path.js';
export { freePort, isPortFree } from './free-port.js';
export { EXIT_CONFIG, LIFELINE_ENV, LIFELINE_FD, watchLifeline } from './lifeline.js';
export { findNvidiaDevices, type NvidiaDevice } from './nvidia-devices.js';
export { findRedisServer, type RedisBinary, type RedisFinderOptions } from './redis-finder.js';
export { type ProcessEnd, RedisServer, type RedisServerOptions } from './redis-server.js';
export { type CommandResult, runCommand } from './run-command.js';
export { SetupError } from './setup.error.js';
