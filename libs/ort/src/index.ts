/** ONNX Runtime for Warmlane: the C API through koffi, sessions, and lanes bound to one shape. */
export { CudaRuntime, DeviceBuffer } from './native/cuda-runtime.js';
export { HostBuffer, type HostMemory, trimHeap } from './native/host-buffer.js';
export { OrtError, type OrtReason } from './native/ort-error.js';
export type { AllocatorStats } from './session/allocator-stats.js';
export { cudaProblem, type Gpu, hasNvidiaDevice, listGpus, nvidiaDriverVersion } from './session/devices.js';
export type { LaneSpec, LaneWeights } from './session/lane-factory.js';
export type { Capture, FirstRun, LaneSessionPort, RunResult } from './session/lane-port.js';
export { LaneSession } from './session/lane-session.js';
export { OrtRuntime, type OrtRuntimeOptions } from './session/ort-runtime.js';
export { type NodePlace, placeNodes } from './session/place-nodes.js';
export type { PlacedNode, Placement } from './session/placement.js';
export { PlainSession } from './session/plain-session.js';
export {
  createSession,
  createSessionSync,
  type ModelSource,
  OrtSession,
  readModelMetadata,
  type SessionSpec,
} from './session/session.js';
export { OPTIMIZED_MODEL, SharedWeights, type WeightSource, writeOptimizedModel } from './session/shared-weights.js';
export { TensorValue } from './session/tensor-value.js';
