export {
  CONFORMANCE_MODELS,
  type ConformanceModel,
  floats,
  floatsOf,
  int32s,
  int64s,
  strings,
} from './conformance-models.js';
export { FakeLane, type FakeLaneOptions, type LaneFault } from './fake-lane.js';
export { type HeldVersionStandIn, heldVersion } from './held-version.js';
export {
  addSubModel,
  anonymousDimsModel,
  bfloat16BranchModel,
  centredModel,
  convReluModel,
  divideModel,
  externalDataModel,
  gatherModel,
  identityModel,
  loopModel,
  matMulModel,
  meanModel,
  meanWeights,
  noise,
  nonZeroModel,
  reshapeByInputModel,
  reshapeModel,
  softmaxModel,
  sqrtModel,
  stringConcatModel,
  twoBatchAxesModel,
} from './models.js';
export { bytesOf, model, type Node, tensor, withChecksum } from './onnx-builder.js';
export { type StackModel, stackInput, writeStackModel } from './stack-model.js';
export { type StartRedisOptions, startRedis, testRedisBinary } from './start-redis.js';
