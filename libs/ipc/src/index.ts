export {
  type CallContext,
  type CallOptions,
  CallTimeout,
  Channel,
  ChannelClosed,
  type MethodTable,
} from './channel.js';
export type { FrameLimits } from './frame.js';
export { watchLifeline } from './lifeline.js';
export { type Child, type ChildExit, parentChannel, type SpawnChildOptions, spawnChild } from './spawn-child.js';
