import {
  checkTensorBytes,
  type DType,
  deadlineMsSchema,
  dtypeOf,
  type ModelMetadata,
  type NamedTensor,
  type TensorSpec,
  tensorBytes,
  WarmlaneError,
} from '@warmlane/contracts';
import { type JsonObject, JsonReader, JsonSpan, type JsonValue } from './json-reader.js';
import { decodeJsonTensor } from './json-tensor.js';

export interface RequestedOutput {
  name: string;
  binary: boolean;
}

/** An inference request of the protocol, decoded: tensors are bytes, whatever form they came in. */
export interface InferRequest {
  /** The client's own id, only echoed. */
  id: string | null;
  inputs: NamedTensor[];
  /** null: all outputs. */
  outputs: RequestedOutput[] | null;
  /** Form of outputs that say nothing of their own. */
  binaryOutput: boolean;
  deadlineMs: number | null;
  priority: number | null;
}

const bad = (message: string, hint = ''): WarmlaneError => new WarmlaneError('bad-request', message, hint);
const unsupported = (message: string, hint: string): WarmlaneError => new WarmlaneError('not-supported', message, hint);

const isInputData = (path: readonly string[]): boolean =>
  path.length === 2 && path[0] === 'inputs' && path[1] === 'data';

function describe(value: JsonValue | undefined): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (value instanceof Map) return 'an object';
  if (Array.isArray(value) || value instanceof JsonSpan) return 'an array';
  return `the ${typeof value} ${JSON.stringify(value).slice(0, 40)}`;
}

function objectOf(value: JsonValue | undefined, what: string): JsonObject {
  if (!(value instanceof Map)) throw bad(`${what} must be an object, got ${describe(value)}`);
  return value;
}

function textOf(value: JsonValue | undefined, what: string): string {
  if (typeof value !== 'string') throw bad(`${what} must be a string, got ${describe(value)}`);
  return value;
}

/** A member that may be left out: clients that write their whole data model (KServe's, pydantic's) send null for it. */
function optional(object: JsonObject, key: string): JsonValue | undefined {
  return object.get(key) ?? undefined;
}

function parametersOf(object: JsonObject, what: string): JsonObject {
  const value = optional(object, 'parameters');
  return value === undefined ? new Map() : objectOf(value, `parameters of ${what}`);
}

function integerOf(value: JsonValue | undefined, what: string, low: number, high: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < low || value > high) {
    throw bad(`${what} must be an integer from ${low} to ${high}, got ${describe(value)}`);
  }
  return value;
}

function flagOf(value: JsonValue | undefined, what: string): boolean | null {
  if (value === undefined) return null;
  if (typeof value !== 'boolean') throw bad(`${what} must be true or false, got ${describe(value)}`);
  return value;
}

function refuseSharedMemory(parameters: JsonObject, what: string): void {
  if (parameters.has('shared_memory_region')) {
    throw unsupported(`${what} names a shared memory region`, 'Send and receive tensors in the body.');
  }
}

/** `timeout` is in microseconds; 0 means the default, as in Triton. */
function readTimeout(value: JsonValue | undefined): number | null {
  if (value === undefined || value === 0) return null;
  const micros = integerOf(value, "parameter 'timeout' (microseconds)", 1, 3_600_000_000);
  return deadlineMsSchema.parse(Math.ceil(micros / 1000));
}

function readPriority(value: JsonValue | undefined): number | null {
  return value === undefined ? null : integerOf(value, "parameter 'priority'", 0, 9);
}

/**
 * Decodes an inference request: `head` is the JSON, `binary` what follows it (null where the request has no
 * `Inference-Header-Content-Length`). Throws `bad-request` naming the input and what was expected, `too-large` for JSON
 * tensors above 4 MiB, `not-supported` for what the server does not have.
 */
export function decodeInferRequest(head: Buffer, binary: Buffer | null): InferRequest {
  const root = objectOf(new JsonReader(head, isInputData).read(), 'the request');
  const parameters = parametersOf(root, 'the request');
  const sequence = parameters.get('sequence_id');
  if (sequence !== undefined && sequence !== 0 && sequence !== '') {
    throw unsupported('sequences are not supported', 'Send requests without sequence_id; pass state as a tensor.');
  }
  const id = optional(root, 'id');
  return {
    id: id === undefined ? null : textOf(id, 'id'),
    inputs: readInputs(root.get('inputs'), head, binary),
    outputs: readOutputs(optional(root, 'outputs'), flagOf(parameters.get('binary_data_output'), 'binary_data_output')),
    binaryOutput: flagOf(parameters.get('binary_data_output'), 'binary_data_output') ?? false,
    deadlineMs: readTimeout(parameters.get('timeout')),
    priority: readPriority(parameters.get('priority')),
  };
}

/**
 * The data of an input is not what its own shape says. Whether the model has such inputs at all is for whoever knows the
 * model to say: that helps more.
 */
export class TensorDataError extends WarmlaneError {
  constructor(
    error: WarmlaneError,
    readonly specs: readonly TensorSpec[],
  ) {
    super(error.code, error.message, error.hint, { cause: error });
  }
}

function readInputs(value: JsonValue | undefined, head: Buffer, binary: Buffer | null): NamedTensor[] {
  if (!Array.isArray(value)) throw bad(`inputs must be an array, got ${describe(value)}`);
  const announced = value.map((entry, index) => readSpec(objectOf(entry, `inputs[${index}]`), index));
  try {
    const section = new BinarySection(binary);
    const inputs = announced.map(({ entry, spec }) => readData(entry, spec, head, section));
    section.finish();
    return inputs;
  } catch (thrown) {
    if (!(thrown instanceof WarmlaneError) || thrown.code !== 'bad-request') throw thrown;
    throw new TensorDataError(
      thrown,
      announced.map(({ spec }) => spec),
    );
  }
}

function readSpec(entry: JsonObject, index: number): { entry: JsonObject; spec: TensorSpec } {
  const name = textOf(entry.get('name'), `inputs[${index}].name`);
  const what = `input '${name}'`;
  const datatype = textOf(entry.get('datatype'), `${what}: datatype`);
  const dtype = dtypeOf(datatype);
  if (dtype === null) throw bad(`${what}: unknown datatype '${datatype}'`, 'For example FP32, INT64, BOOL or BYTES.');
  return { entry, spec: { name, dtype, dims: readShape(entry.get('shape'), what) } };
}

function readData(entry: JsonObject, target: TensorSpec, head: Buffer, section: BinarySection): NamedTensor {
  const { name, dtype, dims } = target;
  const what = `input '${name}'`;
  const parameters = parametersOf(entry, what);
  refuseSharedMemory(parameters, what);
  const expected = tensorBytes(target, what);
  const size = parameters.get('binary_data_size');
  const data = optional(entry, 'data');
  if (size === undefined) {
    if (!(data instanceof JsonSpan)) throw bad(`${what}: data must be an array, got ${describe(data)}`);
    return { ...target, data: decodeJsonTensor(head, data, target) };
  }
  if (data !== undefined) throw bad(`${what} has both data and binary_data_size`, 'Send one of them.');
  const bytes = integerOf(size, `${what}: binary_data_size`, 0, Number.MAX_SAFE_INTEGER);
  if (expected !== null && bytes !== expected) {
    throw bad(`${what}: unexpected size ${bytes}, expected ${expected} for ${dtype}[${dims.join(',')}]`);
  }
  const tensor = { ...target, data: section.take(bytes, what) };
  checkTensorBytes(tensor);
  return tensor;
}

function readShape(value: JsonValue | undefined, what: string): number[] {
  if (!Array.isArray(value)) throw bad(`${what}: shape must be an array of integers, got ${describe(value)}`);
  return value.map((dim) => {
    if (typeof dim !== 'number') throw bad(`${what}: shape must be an array of integers, it holds ${describe(dim)}`);
    return dim;
  });
}

/** What follows the JSON: the raw tensors, in the order of the inputs that announce a size. */
class BinarySection {
  #at = 0;

  constructor(private readonly bytes: Buffer | null) {}

  take(size: number, what: string): Buffer {
    // KServe's client has nothing to append for an empty tensor and so sends no length of the JSON either.
    if (size === 0) return Buffer.alloc(0);
    if (this.bytes === null) {
      throw bad(
        `${what} announces binary data, but the request has no Inference-Header-Content-Length`,
        'Set the header to the length of the JSON in bytes.',
      );
    }
    const left = this.bytes.byteLength - this.#at;
    if (size > left) throw bad(`unexpected size for ${what}: expected ${size} bytes, the body has ${left} left`);
    const data = this.bytes.subarray(this.#at, this.#at + size);
    this.#at += size;
    return data;
  }

  finish(): void {
    const left = (this.bytes?.byteLength ?? 0) - this.#at;
    if (left > 0) throw bad(`unexpected additional input data: ${left} bytes after the last input`);
  }
}

function readOutputs(value: JsonValue | undefined, binaryOutput: boolean | null): RequestedOutput[] | null {
  if (value === undefined) return null;
  if (!Array.isArray(value)) throw bad(`outputs must be an array, got ${describe(value)}`);
  // tritonclient and KServe's client send an empty list for "all of them".
  if (value.length === 0) return null;
  return value.map((entry, index) => {
    const output = objectOf(entry, `outputs[${index}]`);
    const name = textOf(output.get('name'), `outputs[${index}].name`);
    const parameters = parametersOf(output, `output '${name}'`);
    refuseSharedMemory(parameters, `output '${name}'`);
    const classes = parameters.get('classification');
    if (classes !== undefined && classes !== 0) {
      throw unsupported(
        `output '${name}' asks for classification`,
        'Ask for the tensor and pick the top classes there.',
      );
    }
    const binary = flagOf(parameters.get('binary_data'), `output '${name}': binary_data`);
    return { name, binary: binary ?? binaryOutput ?? false };
  });
}

/**
 * A body that is one raw tensor (`Inference-Header-Content-Length: 0`): the model must have one input, of which at most
 * one dimension is not fixed and follows from the body's size. All outputs are binary. Throws `bad-request`.
 */
export function decodeRawRequest(body: Buffer, metadata: ModelMetadata): InferRequest {
  const [info, ...others] = metadata.inputs;
  if (info === undefined || others.length > 0) {
    throw bad(
      `a raw body (Inference-Header-Content-Length: 0) needs a model with one input, this one has ${metadata.inputs.length}`,
      'Send the JSON head and its length.',
    );
  }
  const what = `input '${info.name}'`;
  const open = info.dims.filter((dim) => typeof dim === 'string' || dim < 0).length;
  if (open > 1)
    throw bad(`${what} has ${open} dimensions that are not fixed: a raw body can tell one`, 'Send the JSON head.');
  const data = info.dtype === 'string' ? withLength(body) : body;
  const input = {
    name: info.name,
    dtype: info.dtype,
    dims: rawDims(info.dtype, info.dims, body.byteLength, what),
    data,
  };
  checkTensorBytes(input);
  return { id: null, inputs: [input], outputs: null, binaryOutput: true, deadlineMs: null, priority: null };
}

/** A raw BYTES body is one element: its length goes before it. */
function withLength(body: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(body.byteLength);
  return Buffer.concat([length, body]);
}

function rawDims(dtype: DType, declared: readonly (number | string)[], bytes: number, what: string): number[] {
  const rest = declared.map((dim) => (typeof dim === 'string' || dim < 0 ? 1 : dim));
  if (dtype === 'string') return rest;
  const unit = tensorBytes({ dtype, dims: rest }, what) ?? 1;
  return declared.map((dim) => {
    if (typeof dim === 'number' && dim >= 0) return dim;
    if (unit === 0 || bytes % unit !== 0) {
      throw bad(`${what}: unexpected size ${bytes}, expected a multiple of ${unit} bytes`);
    }
    return bytes / unit;
  });
}
