import { type ErrorBody, isErrorCode, WarmlaneError } from '@warmlane/contracts';
import { type AttachmentPath, attach, detach } from './attachments.js';
import { encodeFrame, type Frame, type FrameLimits } from './frame.js';

export type Message =
  | { kind: 'call'; id: number; method: string; value: unknown }
  | { kind: 'result'; id: number; value: unknown }
  | { kind: 'error'; id: number; error: ErrorBody }
  | { kind: 'cancel'; id: number }
  | { kind: 'event'; event: string; value: unknown };

/** Buffers to write for a message. */
export function encodeMessage(message: Message, limits: FrameLimits): Uint8Array[] {
  if (message.kind === 'error' || message.kind === 'cancel') return encodeFrame(message, [], limits);
  const { value, paths, attachments } = detach(message.value);
  // `undefined` has no JSON form; null crosses the boundary instead.
  const header = { ...message, value: value ?? null, ...(paths.length > 0 ? { paths } : {}) };
  return encodeFrame(header, attachments, limits);
}

/** The message of a frame. Throws WarmlaneError where the frame is none of ours. */
export function decodeMessage(frame: Frame): Message {
  const { header } = frame;
  if (typeof header !== 'object' || header === null) throw foreign();
  const { kind, id, method, event, value, error, paths } = header as Record<string, unknown>;
  const whole = (): unknown => attach(value, isPaths(paths) ? paths : [], frame.attachments);
  if (kind === 'event' && typeof event === 'string') return { kind, event, value: whole() };
  if (typeof id !== 'number' || !Number.isSafeInteger(id)) throw foreign();
  if (kind === 'call' && typeof method === 'string') return { kind, id, method, value: whole() };
  if (kind === 'result') return { kind, id, value: whole() };
  if (kind === 'cancel') return { kind, id };
  if (kind === 'error' && isBody(error)) return { kind, id, error };
  throw foreign();
}

function isPaths(value: unknown): value is AttachmentPath[] {
  return Array.isArray(value) && value.every((path) => Array.isArray(path));
}

function isBody(value: unknown): value is ErrorBody {
  if (typeof value !== 'object' || value === null) return false;
  const { code, message, hint } = value as Record<string, unknown>;
  return typeof code === 'string' && isErrorCode(code) && typeof message === 'string' && typeof hint === 'string';
}

function foreign(): WarmlaneError {
  return new WarmlaneError(
    'internal',
    'message between processes: not one of this protocol',
    'Parent and child are of different builds, or the child is broken: build again and restart it.',
  );
}
