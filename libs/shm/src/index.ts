export { HeldSlot, HeldTensor } from './held-slot.js';
export { HostPeers } from './host-peers.js';
export { SHARERS_PER_DEVICE, SharedMemory, type SharedMemoryOptions } from './shared-memory.js';
export { HEADER_BYTES, isUseOf, slotGone } from './slot-layout.js';
export { SlotPool, type SlotPoolOptions } from './slot-pool.js';
export { SlotReader } from './slot-reader.js';
export { bytesOfTensor, loadTensors, revive, SlotTensor } from './slot-tensor.js';
export { sweep } from './sweep.js';
