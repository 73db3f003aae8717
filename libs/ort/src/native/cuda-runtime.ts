import koffi, { type LibraryHandle } from 'koffi';
import { loadFirst, whyNotLoadable } from './dynamic-library.js';
import type { Out } from './handle.js';
import { HostBuffer } from './host-buffer.js';
import { OrtError } from './ort-error.js';

/** Newest first: the CUDA provider that is pinned wants 13; 12 goes with other builds. */
const RUNTIME_LIBRARIES = ['libcudart.so.13', 'libcudart.so.12'];
const CUDNN_LIBRARIES = ['libcudnn.so.9'];

/** cudaMemcpyKind. */
const HOST_TO_DEVICE = 1;
const DEVICE_TO_HOST = 2;
/** cudaStreamNonBlocking: no hidden waits on the legacy default stream. */
const NON_BLOCKING = 1;
/** cudaHostAllocPortable: pinned for every context of the process. */
const PORTABLE = 1;

type Status = number;
type Stream = bigint;

interface Functions {
  getErrorString(status: Status): string;
  getLastError(): Status;
  setDevice(device: number): Status;
  deviceGetCount(out: Out<number>): Status;
  malloc(out: Out<bigint>, bytes: number): Status;
  free(address: bigint): Status;
  hostAlloc(out: Out<bigint>, bytes: number, flags: number): Status;
  freeHost(address: bigint): Status;
  hostRegister(address: bigint, bytes: number, flags: number): Status;
  hostUnregister(address: bigint): Status;
  streamCreate(out: Out<bigint>, flags: number): Status;
  streamDestroy(stream: Stream): Status;
  streamSynchronize(stream: Stream): Status;
  memcpyAsync(to: bigint, from: bigint, bytes: number, kind: number, stream: Stream): Status;
  memsetAsync(to: bigint, value: number, bytes: number, stream: Stream): Status;
  memGetInfo(free: Out<number>, total: Out<number>): Status;
  runtimeGetVersion(out: Out<number>): Status;
  driverGetVersion(out: Out<number>): Status;
}

function bind(library: LibraryHandle): Functions {
  const P = 'void *';
  const outPointer = koffi.out(koffi.pointer('void *'));
  const outInt = koffi.out(koffi.pointer('int'));
  const outSize = koffi.out(koffi.pointer('size_t'));
  return {
    getErrorString: library.func('cudaGetErrorString', 'str', ['int']),
    getLastError: library.func('cudaGetLastError', 'int', []),
    setDevice: library.func('cudaSetDevice', 'int', ['int']),
    deviceGetCount: library.func('cudaGetDeviceCount', 'int', [outInt]),
    malloc: library.func('cudaMalloc', 'int', [outPointer, 'size_t']),
    free: library.func('cudaFree', 'int', [P]),
    hostAlloc: library.func('cudaHostAlloc', 'int', [outPointer, 'size_t', 'uint']),
    freeHost: library.func('cudaFreeHost', 'int', [P]),
    hostRegister: library.func('cudaHostRegister', 'int', [P, 'size_t', 'uint']),
    hostUnregister: library.func('cudaHostUnregister', 'int', [P]),
    streamCreate: library.func('cudaStreamCreateWithFlags', 'int', [outPointer, 'uint']),
    streamDestroy: library.func('cudaStreamDestroy', 'int', [P]),
    streamSynchronize: library.func('cudaStreamSynchronize', 'int', [P]),
    memcpyAsync: library.func('cudaMemcpyAsync', 'int', [P, P, 'size_t', 'int', P]),
    memsetAsync: library.func('cudaMemsetAsync', 'int', [P, 'int', 'size_t', P]),
    memGetInfo: library.func('cudaMemGetInfo', 'int', [outSize, outSize]),
    runtimeGetVersion: library.func('cudaRuntimeGetVersion', 'int', [outInt]),
    driverGetVersion: library.func('cudaDriverGetVersion', 'int', [outInt]),
  };
}

/** Device memory with one owner. */
export class DeviceBuffer implements Disposable {
  readonly bytes: number;
  #address: bigint | null;
  readonly #release: (address: bigint) => void;

  constructor(address: bigint, bytes: number, release: (address: bigint) => void) {
    this.#address = address;
    this.bytes = bytes;
    this.#release = release;
  }

  /** Throws `closed` after `close()`. */
  get address(): bigint {
    if (this.#address === null) throw new OrtError('closed', 'this device buffer is closed');
    return this.#address;
  }

  close(): void {
    const address = this.#address;
    this.#address = null;
    if (address !== null) this.#release(address);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * The CUDA runtime in this process, for one device: memory, copies on a stream of its own, versions. To be used from one
 * thread, the one that serves: CUDA's current device is the thread's.
 */
export class CudaRuntime implements Disposable {
  /** CUDA's number of the device among the visible ones. */
  readonly device: number;
  readonly #cuda: Functions;
  #stream: Stream | null;

  private constructor(cuda: Functions, device: number) {
    this.#cuda = cuda;
    this.device = device;
    this.#check(cuda.setDevice(device), `cudaSetDevice(${device})`);
    const out: Out<bigint> = [null];
    this.#check(cuda.streamCreate(out, NON_BLOCKING), 'cudaStreamCreateWithFlags');
    this.#stream = out[0];
  }

  /** Throws `missing-library` naming what is missing, `cuda` where the driver refuses the device. */
  static load(device = 0): CudaRuntime {
    const library = loadFirst(RUNTIME_LIBRARIES);
    if (library === null) {
      const reasons = RUNTIME_LIBRARIES.map((file) => whyNotLoadable(file)).join('; ');
      throw new OrtError(
        'missing-library',
        `no CUDA runtime: ${reasons}`,
        'Install CUDA 13 (or 12) and put its libraries on LD_LIBRARY_PATH.',
      );
    }
    return new CudaRuntime(bind(library), device);
  }

  #check(status: Status, what: string): void {
    if (status === 0) return;
    const text = this.#cuda.getErrorString(status);
    // Clears an error that does not stick, so that ONNX Runtime's next check does not report it as its own.
    this.#cuda.getLastError();
    const outOfMemory = 2;
    if (status === outOfMemory) {
      throw new OrtError('out-of-memory', `${what}: ${text}`, 'Free memory on the device or lower the memory budget.', {
        cudaCode: status,
      });
    }
    throw new OrtError('cuda', `${what}: CUDA failure ${status}: ${text}`, '', { cudaCode: status });
  }

  get #openStream(): Stream {
    if (this.#stream === null) throw new OrtError('closed', 'this CUDA runtime is closed');
    return this.#stream;
  }

  /** Device memory, not initialised. Zero bytes still have an address of their own. Throws `out-of-memory`. */
  allocate(bytes: number): DeviceBuffer {
    const out: Out<bigint> = [null];
    this.#check(this.#cuda.malloc(out, Math.max(1, bytes)), `cudaMalloc(${bytes})`);
    return new DeviceBuffer(out[0] ?? 0n, bytes, (address) => this.#check(this.#cuda.free(address), 'cudaFree'));
  }

  /** Pinned host memory: the device copies from and to it at full speed. Throws `out-of-memory`. */
  allocatePinned(bytes: number): HostBuffer {
    const out: Out<bigint> = [null];
    this.#check(this.#cuda.hostAlloc(out, Math.max(1, bytes), PORTABLE), `cudaHostAlloc(${bytes})`);
    return new HostBuffer(out[0] ?? 0n, bytes, (address) => this.#check(this.#cuda.freeHost(address), 'cudaFreeHost'));
  }

  /** Pins memory that lies there already (for instance a mapped file); call the result to undo it. */
  pin(address: bigint, bytes: number): () => void {
    this.#check(this.#cuda.hostRegister(address, bytes, PORTABLE), `cudaHostRegister(${bytes})`);
    return () => this.#check(this.#cuda.hostUnregister(address), 'cudaHostUnregister');
  }

  /** Queued; host memory has to be pinned and to stay until `synchronize`. */
  copyToDevice(to: bigint, from: bigint, bytes: number): void {
    if (bytes === 0) return;
    this.#check(this.#cuda.memcpyAsync(to, from, bytes, HOST_TO_DEVICE, this.#openStream), 'copy to the device');
  }

  /** Queued; the bytes are there after `synchronize`. */
  copyToHost(to: bigint, from: bigint, bytes: number): void {
    if (bytes === 0) return;
    this.#check(this.#cuda.memcpyAsync(to, from, bytes, DEVICE_TO_HOST, this.#openStream), 'copy to the host');
  }

  /** Queued. */
  fill(to: bigint, value: number, bytes: number): void {
    if (bytes === 0) return;
    this.#check(this.#cuda.memsetAsync(to, value, bytes, this.#openStream), 'fill');
  }

  /** Waits for everything queued here, not for other streams. */
  synchronize(): void {
    this.#check(this.#cuda.streamSynchronize(this.#openStream), 'cudaStreamSynchronize');
  }

  /** Bytes free and total on the device, other processes counted in. */
  memory(): { free: number; total: number } {
    const free: Out<number> = [null];
    const total: Out<number> = [null];
    this.#check(this.#cuda.memGetInfo(free, total), 'cudaMemGetInfo');
    return { free: free[0] ?? 0, total: total[0] ?? 0 };
  }

  /** `runtime` and the newest that the `driver` supports, such as `13.0`; cuDNN such as `9.13.0`, or null without it. */
  versions(): { runtime: string; driver: string; cudnn: string | null } {
    const runtime: Out<number> = [null];
    const driver: Out<number> = [null];
    this.#check(this.#cuda.runtimeGetVersion(runtime), 'cudaRuntimeGetVersion');
    this.#check(this.#cuda.driverGetVersion(driver), 'cudaDriverGetVersion');
    return { runtime: cudaVersion(runtime[0] ?? 0), driver: cudaVersion(driver[0] ?? 0), cudnn: cudnnVersion() };
  }

  close(): void {
    const stream = this.#stream;
    this.#stream = null;
    if (stream !== null) this.#check(this.#cuda.streamDestroy(stream), 'cudaStreamDestroy');
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** 13000 -> `13.0`. */
export function cudaVersion(number: number): string {
  return `${Math.floor(number / 1000)}.${Math.floor((number % 1000) / 10)}`;
}

/** The version of cuDNN that loads here, or null. */
export function cudnnVersion(): string | null {
  const library = loadFirst(CUDNN_LIBRARIES);
  if (library === null) return null;
  const getVersion = library.func('cudnnGetVersion', 'size_t', []) as () => number;
  const number = Number(getVersion());
  return `${Math.floor(number / 10_000)}.${Math.floor((number % 10_000) / 100)}.${number % 100}`;
}
