export {
  type CallContext,
  type CallOptions,
  CallTimeout,
  Channel,
  ChannelClosed,
  type HandleOptions,
  type MethodTable,
} from './channel.js';
export { type Child, type ChildExit, parentChannel, type SpawnChildOptions, spawnChild } from './spawn-child.js';
