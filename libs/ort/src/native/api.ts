import koffi, { type LibraryHandle, type TypeObject } from 'koffi';
import type { Out, Pointer } from './handle.js';
import { API_VERSION, type ApiFunction, ORDINALS } from './ordinals.js';
import { errorOfStatus, OrtError } from './ort-error.js';

type Callback<R> = (error: Error | null, result: R) => void;

/** A C function: called on this thread, or by `async` on one of koffi's pool threads. */
interface NativeFunction<A extends readonly unknown[], R> {
  (...args: A): R;
  async(...args: [...A, Callback<R>]): void;
}

/** Most functions return a status: null is success. */
export type StatusFunction<A extends readonly unknown[]> = NativeFunction<A, Pointer<'Status'> | null>;

/** An array that C reads or fills in place. koffi passes typed arrays by address and keeps them during the call. */
type InPlace = BigInt64Array | BigUint64Array | null;
type AnyPointer = bigint;

const OUT_POINTER = koffi.out(koffi.pointer('void *'));
const OUT_SIZE = koffi.out(koffi.pointer('size_t'));
const OUT_INT = koffi.out(koffi.pointer('int'));
type Type = Parameters<typeof koffi.out>[0];

/** Reads the function table of a loaded ONNX Runtime. Throws `not-supported` for a library older than {@link API_VERSION}. */
export function readApi(library: LibraryHandle, path: string): { api: OrtApi; version: string } {
  const getApiBase = library.func('void *OrtGetApiBase()') as () => bigint;
  const base = getApiBase();
  const pointerAt = (address: bigint, offset: number): bigint => koffi.decode(address, offset, 'void *') as bigint;
  const getVersion = koffi.decode(pointerAt(base, 8), koffi.proto('str', [])) as () => string;
  const getApi = koffi.decode(pointerAt(base, 0), koffi.proto('void *', ['uint32_t'])) as (v: number) => bigint | null;
  const version = getVersion();
  const table = getApi(API_VERSION);
  if (table === null) {
    throw new OrtError(
      'not-supported',
      `ONNX Runtime ${version} of ${path} is older than 1.${API_VERSION}`,
      'Use the version that this package pins.',
    );
  }
  return { api: bindApi((name) => pointerAt(table, ORDINALS[name] * 8)), version };
}

export type OrtApi = ReturnType<typeof bindApi>;

/** The used part of OrtApi with the signatures of onnxruntime_c_api.h. */
function bindApi(address: (name: ApiFunction) => bigint) {
  const bind = (name: ApiFunction, result: Type, args: Type[]): unknown =>
    koffi.decode(address(name), koffi.proto(result, args) as TypeObject);
  const status = <A extends readonly unknown[]>(name: ApiFunction, ...args: Type[]) =>
    bind(name, 'void *', args) as StatusFunction<A>;
  const release = <K extends string>(name: ApiFunction) => bind(name, 'void', ['void *']) as (p: Pointer<K>) => void;
  const P = 'void *';
  return {
    getErrorCode: bind('GetErrorCode', 'int', [P]) as (status: Pointer<'Status'>) => number,
    getErrorMessage: bind('GetErrorMessage', 'str', [P]) as (status: Pointer<'Status'>) => string,
    releaseStatus: release<'Status'>('ReleaseStatus'),

    createEnv: status<[level: number, id: string, out: Out<Pointer<'Env'>>]>('CreateEnv', 'int', 'str', OUT_POINTER),
    releaseEnv: release<'Env'>('ReleaseEnv'),
    getAvailableProviders: status<[names: Out<AnyPointer>, count: Out<number>]>(
      'GetAvailableProviders',
      OUT_POINTER,
      OUT_INT,
    ),
    releaseAvailableProviders: status<[names: AnyPointer, count: number]>('ReleaseAvailableProviders', P, 'int'),

    createSession: status<
      [env: Pointer<'Env'>, path: string, options: Pointer<'SessionOptions'>, out: Out<Pointer<'Session'>>]
    >('CreateSession', P, 'str', P, OUT_POINTER),
    createSessionFromArray: status<
      [
        env: Pointer<'Env'>,
        data: AnyPointer,
        bytes: number,
        options: Pointer<'SessionOptions'>,
        out: Out<Pointer<'Session'>>,
      ]
    >('CreateSessionFromArray', P, P, 'size_t', P, OUT_POINTER),
    createSessionWithPrepacked: status<
      [
        env: Pointer<'Env'>,
        path: string,
        options: Pointer<'SessionOptions'>,
        container: Pointer<'PrepackedWeights'>,
        out: Out<Pointer<'Session'>>,
      ]
    >('CreateSessionWithPrepackedWeightsContainer', P, 'str', P, P, OUT_POINTER),
    createPrepackedWeights: status<[out: Out<Pointer<'PrepackedWeights'>>]>(
      'CreatePrepackedWeightsContainer',
      OUT_POINTER,
    ),
    releasePrepackedWeights: release<'PrepackedWeights'>('ReleasePrepackedWeightsContainer'),
    releaseSession: release<'Session'>('ReleaseSession'),

    createSessionOptions: status<[out: Out<Pointer<'SessionOptions'>>]>('CreateSessionOptions', OUT_POINTER),
    releaseSessionOptions: release<'SessionOptions'>('ReleaseSessionOptions'),
    setOptimizedModelFilePath: status<[options: Pointer<'SessionOptions'>, path: string]>(
      'SetOptimizedModelFilePath',
      P,
      'str',
    ),
    setExecutionMode: status<[options: Pointer<'SessionOptions'>, mode: number]>('SetSessionExecutionMode', P, 'int'),
    enableMemPattern: status<[options: Pointer<'SessionOptions'>]>('EnableMemPattern', P),
    disableMemPattern: status<[options: Pointer<'SessionOptions'>]>('DisableMemPattern', P),
    enableCpuMemArena: status<[options: Pointer<'SessionOptions'>]>('EnableCpuMemArena', P),
    disableCpuMemArena: status<[options: Pointer<'SessionOptions'>]>('DisableCpuMemArena', P),
    setGraphOptimizationLevel: status<[options: Pointer<'SessionOptions'>, level: number]>(
      'SetSessionGraphOptimizationLevel',
      P,
      'int',
    ),
    setIntraOpNumThreads: status<[options: Pointer<'SessionOptions'>, n: number]>('SetIntraOpNumThreads', P, 'int'),
    setInterOpNumThreads: status<[options: Pointer<'SessionOptions'>, n: number]>('SetInterOpNumThreads', P, 'int'),
    setDeterministicCompute: status<[options: Pointer<'SessionOptions'>, on: boolean]>(
      'SetDeterministicCompute',
      P,
      'bool',
    ),
    addFreeDimensionOverrideByName: status<[options: Pointer<'SessionOptions'>, name: string, size: number]>(
      'AddFreeDimensionOverrideByName',
      P,
      'str',
      'int64_t',
    ),
    addSessionConfigEntry: status<[options: Pointer<'SessionOptions'>, key: string, value: string]>(
      'AddSessionConfigEntry',
      P,
      'str',
      'str',
    ),
    getSessionConfigEntry: status<
      [options: Pointer<'SessionOptions'>, key: string, buffer: Uint8Array | null, size: [number]]
    >('GetSessionConfigEntry', P, 'str', P, koffi.inout(koffi.pointer('size_t'))),
    addInitializer: status<[options: Pointer<'SessionOptions'>, name: string, value: Pointer<'Value'>]>(
      'AddInitializer',
      P,
      'str',
      P,
    ),

    createCudaProviderOptions: status<[out: Out<Pointer<'CudaProviderOptions'>>]>(
      'CreateCUDAProviderOptions',
      OUT_POINTER,
    ),
    updateCudaProviderOptions: status<
      [options: Pointer<'CudaProviderOptions'>, keys: string[], values: string[], count: number]
    >('UpdateCUDAProviderOptions', P, 'const char **', 'const char **', 'size_t'),
    getCudaProviderOptionsAsString: status<
      [options: Pointer<'CudaProviderOptions'>, allocator: Pointer<'Allocator'>, text: Out<AnyPointer>]
    >('GetCUDAProviderOptionsAsString', P, P, OUT_POINTER),
    releaseCudaProviderOptions: release<'CudaProviderOptions'>('ReleaseCUDAProviderOptions'),
    appendCudaProvider: status<[options: Pointer<'SessionOptions'>, cuda: Pointer<'CudaProviderOptions'>]>(
      'SessionOptionsAppendExecutionProvider_CUDA_V2',
      P,
      P,
    ),

    sessionGetInputCount: status<[session: Pointer<'Session'>, count: Out<number>]>(
      'SessionGetInputCount',
      P,
      OUT_SIZE,
    ),
    sessionGetOutputCount: status<[session: Pointer<'Session'>, count: Out<number>]>(
      'SessionGetOutputCount',
      P,
      OUT_SIZE,
    ),
    sessionGetInputName: status<
      [session: Pointer<'Session'>, at: number, allocator: Pointer<'Allocator'>, name: Out<AnyPointer>]
    >('SessionGetInputName', P, 'size_t', P, OUT_POINTER),
    sessionGetOutputName: status<
      [session: Pointer<'Session'>, at: number, allocator: Pointer<'Allocator'>, name: Out<AnyPointer>]
    >('SessionGetOutputName', P, 'size_t', P, OUT_POINTER),
    sessionGetInputTypeInfo: status<[session: Pointer<'Session'>, at: number, out: Out<Pointer<'TypeInfo'>>]>(
      'SessionGetInputTypeInfo',
      P,
      'size_t',
      OUT_POINTER,
    ),
    sessionGetOutputTypeInfo: status<[session: Pointer<'Session'>, at: number, out: Out<Pointer<'TypeInfo'>>]>(
      'SessionGetOutputTypeInfo',
      P,
      'size_t',
      OUT_POINTER,
    ),
    sessionGetMemoryInfoForInputs: status<[session: Pointer<'Session'>, infos: InPlace, count: number]>(
      'SessionGetMemoryInfoForInputs',
      P,
      P,
      'size_t',
    ),
    sessionGetMemoryInfoForOutputs: status<[session: Pointer<'Session'>, infos: InPlace, count: number]>(
      'SessionGetMemoryInfoForOutputs',
      P,
      P,
      'size_t',
    ),
    getOnnxTypeFromTypeInfo: status<[info: Pointer<'TypeInfo'>, type: Out<number>]>(
      'GetOnnxTypeFromTypeInfo',
      P,
      OUT_INT,
    ),
    castTypeInfoToTensorInfo: status<[info: Pointer<'TypeInfo'>, out: Out<Pointer<'TensorInfo'>>]>(
      'CastTypeInfoToTensorInfo',
      P,
      OUT_POINTER,
    ),
    releaseTypeInfo: release<'TypeInfo'>('ReleaseTypeInfo'),
    getTensorElementType: status<[info: Pointer<'TensorInfo'>, type: Out<number>]>('GetTensorElementType', P, OUT_INT),
    getDimensionsCount: status<[info: Pointer<'TensorInfo'>, count: Out<number>]>('GetDimensionsCount', P, OUT_SIZE),
    getDimensions: status<[info: Pointer<'TensorInfo'>, dims: InPlace, count: number]>('GetDimensions', P, P, 'size_t'),
    getSymbolicDimensions: status<[info: Pointer<'TensorInfo'>, names: InPlace, count: number]>(
      'GetSymbolicDimensions',
      P,
      P,
      'size_t',
    ),
    tensorInfoHasShape: bind('TensorTypeAndShape_HasShape', 'bool', [P]) as (info: Pointer<'TensorInfo'>) => boolean,
    releaseTensorInfo: release<'TensorInfo'>('ReleaseTensorTypeAndShapeInfo'),

    createMemoryInfo: status<
      [name: string, allocator: number, id: number, memory: number, out: Out<Pointer<'MemoryInfo'>>]
    >('CreateMemoryInfo', 'str', 'int', 'int', 'int', OUT_POINTER),
    memoryInfoGetName: status<[info: AnyPointer, name: Out<AnyPointer>]>('MemoryInfoGetName', P, OUT_POINTER),
    releaseMemoryInfo: release<'MemoryInfo'>('ReleaseMemoryInfo'),
    getAllocatorWithDefaultOptions: status<[out: Out<Pointer<'Allocator'>>]>(
      'GetAllocatorWithDefaultOptions',
      OUT_POINTER,
    ),
    allocatorFree: status<[allocator: Pointer<'Allocator'>, memory: AnyPointer]>('AllocatorFree', P, P),
    createAllocator: status<[session: Pointer<'Session'>, info: Pointer<'MemoryInfo'>, out: Out<Pointer<'Allocator'>>]>(
      'CreateAllocator',
      P,
      P,
      OUT_POINTER,
    ),
    releaseAllocator: release<'Allocator'>('ReleaseAllocator'),
    allocatorGetStats: status<[allocator: Pointer<'Allocator'>, out: Out<Pointer<'KeyValuePairs'>>]>(
      'AllocatorGetStats',
      P,
      OUT_POINTER,
    ),
    getKeyValuePairs: bind('GetKeyValuePairs', 'void', [P, OUT_POINTER, OUT_POINTER, OUT_SIZE]) as (
      pairs: Pointer<'KeyValuePairs'>,
      keys: Out<AnyPointer>,
      values: Out<AnyPointer>,
      count: Out<number>,
    ) => void,
    releaseKeyValuePairs: release<'KeyValuePairs'>('ReleaseKeyValuePairs'),

    createTensor: status<
      [allocator: Pointer<'Allocator'>, dims: InPlace, rank: number, type: number, out: Out<Pointer<'Value'>>]
    >('CreateTensorAsOrtValue', P, P, 'size_t', 'int', OUT_POINTER),
    createTensorOver: status<
      [
        info: Pointer<'MemoryInfo'>,
        data: AnyPointer,
        bytes: number,
        dims: InPlace,
        rank: number,
        type: number,
        out: Out<Pointer<'Value'>>,
      ]
    >('CreateTensorWithDataAsOrtValue', P, P, 'size_t', P, 'size_t', 'int', OUT_POINTER),
    getTensorMutableData: status<[value: Pointer<'Value'>, out: Out<AnyPointer>]>(
      'GetTensorMutableData',
      P,
      OUT_POINTER,
    ),
    getTensorTypeAndShape: status<[value: Pointer<'Value'>, out: Out<Pointer<'TensorInfo'>>]>(
      'GetTensorTypeAndShape',
      P,
      OUT_POINTER,
    ),
    getValueType: status<[value: Pointer<'Value'>, type: Out<number>]>('GetValueType', P, OUT_INT),
    getStringTensorDataLength: status<[value: Pointer<'Value'>, bytes: Out<number>]>(
      'GetStringTensorDataLength',
      P,
      OUT_SIZE,
    ),
    getStringTensorContent: status<
      [value: Pointer<'Value'>, text: Uint8Array, bytes: number, offsets: InPlace, count: number]
    >('GetStringTensorContent', P, P, 'size_t', P, 'size_t'),
    getResizedStringElement: status<[value: Pointer<'Value'>, at: number, bytes: number, out: Out<AnyPointer>]>(
      'GetResizedStringTensorElementBuffer',
      P,
      'size_t',
      'size_t',
      OUT_POINTER,
    ),
    releaseValue: release<'Value'>('ReleaseValue'),

    createRunOptions: status<[out: Out<Pointer<'RunOptions'>>]>('CreateRunOptions', OUT_POINTER),
    addRunConfigEntry: status<[options: Pointer<'RunOptions'>, key: string, value: string]>(
      'AddRunConfigEntry',
      P,
      'str',
      'str',
    ),
    getRunConfigEntry: bind('GetRunConfigEntry', 'str', [P, 'str']) as (
      options: Pointer<'RunOptions'>,
      key: string,
    ) => string | null,
    releaseRunOptions: release<'RunOptions'>('ReleaseRunOptions'),

    createIoBinding: status<[session: Pointer<'Session'>, out: Out<Pointer<'IoBinding'>>]>(
      'CreateIoBinding',
      P,
      OUT_POINTER,
    ),
    releaseIoBinding: release<'IoBinding'>('ReleaseIoBinding'),
    bindInput: status<[binding: Pointer<'IoBinding'>, name: string, value: Pointer<'Value'>]>('BindInput', P, 'str', P),
    bindOutput: status<[binding: Pointer<'IoBinding'>, name: string, value: Pointer<'Value'>]>(
      'BindOutput',
      P,
      'str',
      P,
    ),
    bindOutputToDevice: status<[binding: Pointer<'IoBinding'>, name: string, info: Pointer<'MemoryInfo'>]>(
      'BindOutputToDevice',
      P,
      'str',
      P,
    ),
    getBoundOutputValues: status<
      [binding: Pointer<'IoBinding'>, allocator: Pointer<'Allocator'>, values: Out<AnyPointer>, count: Out<number>]
    >('GetBoundOutputValues', P, P, OUT_POINTER, OUT_SIZE),
    synchronizeBoundInputs: status<[binding: Pointer<'IoBinding'>]>('SynchronizeBoundInputs', P),
    synchronizeBoundOutputs: status<[binding: Pointer<'IoBinding'>]>('SynchronizeBoundOutputs', P),
    runWithBinding: status<
      [session: Pointer<'Session'>, options: Pointer<'RunOptions'>, binding: Pointer<'IoBinding'>]
    >('RunWithBinding', P, P, P),

    sessionGetEpGraphAssignmentInfo: status<
      [session: Pointer<'Session'>, subgraphs: Out<AnyPointer>, count: Out<number>]
    >('Session_GetEpGraphAssignmentInfo', P, OUT_POINTER, OUT_SIZE),
    subgraphGetEpName: status<[subgraph: AnyPointer, name: Out<AnyPointer>]>(
      'EpAssignedSubgraph_GetEpName',
      P,
      OUT_POINTER,
    ),
    subgraphGetNodes: status<[subgraph: AnyPointer, nodes: Out<AnyPointer>, count: Out<number>]>(
      'EpAssignedSubgraph_GetNodes',
      P,
      OUT_POINTER,
      OUT_SIZE,
    ),
    nodeGetName: status<[node: AnyPointer, name: Out<AnyPointer>]>('EpAssignedNode_GetName', P, OUT_POINTER),
    nodeGetOperatorType: status<[node: AnyPointer, type: Out<AnyPointer>]>(
      'EpAssignedNode_GetOperatorType',
      P,
      OUT_POINTER,
    ),
  };
}

/** Throws the error of a status and releases it; null is success. */
export function check(api: OrtApi, status: Pointer<'Status'> | null): void {
  if (status === null) return;
  const error = errorOfStatus(api.getErrorCode(status), api.getErrorMessage(status));
  api.releaseStatus(status);
  throw error;
}

/** Calls on a pool thread. The caller keeps everything that the arguments point to until the promise settles. */
export function callAsync<A extends readonly unknown[]>(api: OrtApi, fn: StatusFunction<A>, ...args: A): Promise<void> {
  return new Promise((resolve, reject) => {
    fn.async(...args, (error, status) => {
      if (error !== null) {
        reject(new OrtError('fail', error.message, '', { cause: error }));
        return;
      }
      try {
        check(api, status);
        resolve();
      } catch (failure) {
        reject(failure);
      }
    });
  });
}

/** A C string at an address. */
export function textAt(address: bigint): string {
  return koffi.decode.string(address);
}

/** The i-th pointer of a C array of pointers. */
export function pointerInArray(array: bigint, at: number): bigint {
  return koffi.decode(array, at * 8, 'void *') as bigint;
}
