import { promisify } from 'node:util';
import { constants, deflate, gzip } from 'node:zlib';

const gzipAsync = promisify(gzip);
const deflateAsync = promisify(deflate);

/** Below this a compressed answer is hardly smaller, and the work costs more than the bytes. */
const SMALLEST_PACKED = 1024;

export type Packing = 'gzip' | 'deflate';

/** What `accept-encoding` asks for among what we have; null for neither. An entry with q=0 is a refusal. */
export function choosePacking(accept: string | undefined): Packing | null {
  if (accept === undefined) return null;
  const weights = new Map<string, number>();
  for (const part of accept.toLowerCase().split(',')) {
    const [name = '', ...parameters] = part.split(';').map((text) => text.trim());
    const weight = parameters.find((text) => text.startsWith('q='));
    weights.set(name, weight === undefined ? 1 : Number(weight.slice(2)));
  }
  const gzipWeight = weights.get('gzip') ?? weights.get('x-gzip') ?? 0;
  const deflateWeight = weights.get('deflate') ?? 0;
  if (gzipWeight > 0 && gzipWeight >= deflateWeight) return 'gzip';
  return deflateWeight > 0 ? 'deflate' : null;
}

/** The body packed in a thread of libuv, or null where packing is not worth it. Level 1: tensors hardly pack better at 6. */
export async function packBody(body: Buffer, packing: Packing): Promise<Buffer | null> {
  if (body.byteLength < SMALLEST_PACKED) return null;
  const options = { level: constants.Z_BEST_SPEED };
  return packing === 'gzip' ? await gzipAsync(body, options) : await deflateAsync(body, options);
}
