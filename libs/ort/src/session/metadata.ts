import type { ModelMetadata, ValueInfo } from '@warmlane/contracts';
import { check, type OrtApi, type StatusFunction, textAt } from '../native/api.js';
import { filled, type Out, type Pointer } from '../native/handle.js';
import { OrtError } from '../native/ort-error.js';
import { defaultAllocator, readDims, readDtype } from '../native/value.js';

type Session = Pointer<'Session'>;

interface Accessors {
  count: StatusFunction<[session: Session, count: Out<number>]>;
  name: StatusFunction<[session: Session, at: number, allocator: Pointer<'Allocator'>, name: Out<bigint>]>;
  type: StatusFunction<[session: Session, at: number, out: Out<Pointer<'TypeInfo'>>]>;
}

/** Inputs and outputs that a session declares, with its free dimensions as fixed. Throws `not-supported` for non-tensors. */
export function readMetadata(api: OrtApi, session: Session): ModelMetadata {
  return {
    inputs: readValues(api, session, 'input', {
      count: api.sessionGetInputCount,
      name: api.sessionGetInputName,
      type: api.sessionGetInputTypeInfo,
    }),
    outputs: readValues(api, session, 'output', {
      count: api.sessionGetOutputCount,
      name: api.sessionGetOutputName,
      type: api.sessionGetOutputTypeInfo,
    }),
  };
}

function readValues(api: OrtApi, session: Session, what: string, get: Accessors): ValueInfo[] {
  const count: Out<number> = [null];
  check(api, get.count(session, count));
  return Array.from({ length: count[0] ?? 0 }, (_, at) => {
    const name = readName(api, session, at, get);
    const out: Out<Pointer<'TypeInfo'>> = [null];
    check(api, get.type(session, at, out));
    const info = filled(out, 'type info');
    try {
      return { name, ...readTensorType(api, info, `${what} '${name}'`) };
    } finally {
      api.releaseTypeInfo(info);
    }
  });
}

function readName(api: OrtApi, session: Session, at: number, get: Accessors): string {
  const allocator = defaultAllocator(api);
  const out: Out<bigint> = [null];
  check(api, get.name(session, at, allocator, out));
  const address = filled(out, 'name');
  const name = textAt(address);
  check(api, api.allocatorFree(allocator, address));
  return name;
}

function readTensorType(api: OrtApi, info: Pointer<'TypeInfo'>, what: string): Omit<ValueInfo, 'name'> {
  const onnxType: Out<number> = [null];
  check(api, api.getOnnxTypeFromTypeInfo(info, onnxType));
  const tensor = 1;
  if (onnxType[0] !== tensor) {
    throw new OrtError(
      'not-supported',
      `${what} is a sequence, map, optional or sparse tensor`,
      'Only tensors are served.',
    );
  }
  const out: Out<Pointer<'TensorInfo'>> = [null];
  check(api, api.castTypeInfoToTensorInfo(info, out));
  // Owned by the type info, not to be released.
  const tensorInfo = filled(out, 'CastTypeInfoToTensorInfo');
  const dtype = readDtype(api, tensorInfo);
  if (!api.tensorInfoHasShape(tensorInfo)) {
    throw new OrtError('not-supported', `${what} declares no rank`, 'Give it a rank in the model.');
  }
  return { dtype, dims: withSymbols(api, tensorInfo, readDims(api, tensorInfo)) };
}

/** A dimension that is not fixed is its symbolic name, or -1 where it has none. */
function withSymbols(api: OrtApi, info: Pointer<'TensorInfo'>, dims: number[]): (number | string)[] {
  if (dims.length === 0) return [];
  const names = new BigUint64Array(dims.length);
  check(api, api.getSymbolicDimensions(info, names, dims.length));
  return dims.map((dim, at) => {
    if (dim >= 0) return dim;
    const address = names[at] ?? 0n;
    const symbol = address === 0n ? '' : textAt(address);
    return symbol === '' ? -1 : symbol;
  });
}
