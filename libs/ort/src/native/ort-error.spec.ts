import { describe, expect, it } from 'vitest';
import { errorOfStatus, OrtError } from './ort-error.js';

const FAIL = 1;
const RUNTIME_EXCEPTION = 6;

describe('the error of a status', () => {
  it('has the reason of its code and the words of ONNX Runtime', () => {
    expect(errorOfStatus(3, 'File does not exist')).toMatchObject({
      reason: 'no-such-file',
      code: 'bad-request',
      message: 'File does not exist',
    });
    expect(errorOfStatus(10, 'x').reason).toBe('invalid-graph');
    expect(errorOfStatus(99, 'x').reason).toBe('fail');
  });

  it.each([
    'CUDA failure 900: operation not permitted when stream is capturing ; GPU=0 ; hostname=h ; file=f.cc ; line=1',
    'Non-zero status code returned while running Conv node. CUDA error 901: operation failed',
  ])('knows a broken capture: %s', (message) => {
    const error = errorOfStatus(FAIL, message);
    expect(error).toMatchObject({ reason: 'cuda', brokeCapture: true, poisonsProcess: false });
  });

  it('knows an error that only a new process cures', () => {
    const error = errorOfStatus(FAIL, 'CUDA failure 700: an illegal memory access was encountered ; GPU=0');
    expect(error).toMatchObject({ reason: 'cuda', cudaCode: 700, brokeCapture: false, poisonsProcess: true });
    expect(errorOfStatus(FAIL, 'CUBLAS failure 14: internal error').cudaCode).toBeNull();
  });

  it.each([
    'Failed to allocate memory for requested buffer of size 1073741824',
    'Available memory of 0 is smaller than requested bytes of 1024',
    'std::bad_alloc',
    'CUDA failure 2: out of memory ; GPU=0',
  ])('calls refused memory retryable: %s', (message) => {
    const error = errorOfStatus(RUNTIME_EXCEPTION, message);
    expect(error).toMatchObject({ reason: 'out-of-memory', code: 'device-busy', retryable: true });
    expect(error.poisonsProcess).toBe(false);
  });

  it('names the library that is missing', () => {
    const error = errorOfStatus(
      FAIL,
      '/x/provider_bridge_ort.cc:1988 Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load library /o/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot open shared object file: No such file or directory',
    );
    expect(error.reason).toBe('missing-library');
    expect(error.message).toBe(
      'cannot load /o/libonnxruntime_providers_cuda.so: libcublasLt.so.13: cannot open shared object file: No such file or directory',
    );
  });

  it('is no CUDA error without a code of CUDA', () => {
    const error = new OrtError('fail', 'x');
    expect([error.brokeCapture, error.poisonsProcess]).toEqual([false, false]);
  });
});
