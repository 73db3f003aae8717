import type { IncomingHttpHeaders } from 'node:http';
import { deadlineMsSchema, type LaneServed, type Timing, WarmlaneError } from '@warmlane/contracts';

/** The number in a header that holds digits alone; null where the header is absent. */
function integerHeader(headers: IncomingHttpHeaders, name: string, low: number, high: number): number | null {
  const text = headers[name];
  if (text === undefined) return null;
  const value = typeof text === 'string' && /^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= low && value <= high)) {
    throw new WarmlaneError(
      'bad-request',
      `header ${name} must be an integer from ${low} to ${high}, got '${String(text)}'`,
    );
  }
  return value;
}

/** Length of the JSON in front of raw tensors; null where the whole body is JSON, 0 where it is one raw tensor. */
export function headLength(headers: IncomingHttpHeaders, bodyBytes: number): number | null {
  const name = 'inference-header-content-length';
  const length = integerHeader(headers, name, 0, Number.MAX_SAFE_INTEGER);
  if (length !== null && length > bodyBytes) {
    throw new WarmlaneError('bad-request', `header ${name} is ${length}, but the body has ${bodyBytes} bytes`);
  }
  return length;
}

export function deadlineHeader(headers: IncomingHttpHeaders): number | null {
  const { minValue, maxValue } = deadlineMsSchema;
  return integerHeader(headers, 'warmlane-deadline-ms', minValue ?? 1, maxValue ?? 3_600_000);
}

export function priorityHeader(headers: IncomingHttpHeaders): number | null {
  return integerHeader(headers, 'warmlane-priority', 0, 9);
}

const LONGEST_KEY = 255;

/** The client's name for this request, null where it gives none. */
export function idempotencyHeader(headers: IncomingHttpHeaders): string | null {
  const key = headers['idempotency-key'];
  if (key === undefined) return null;
  if (typeof key !== 'string' || key === '' || key.length > LONGEST_KEY) {
    throw new WarmlaneError('bad-request', `header idempotency-key must have 1 to ${LONGEST_KEY} characters`);
  }
  return key;
}

/** Headers of every inference answer. */
export function answerHeaders(answer: { lane: LaneServed; shapeKey: string; timing: Timing }): Record<string, string> {
  const { timing } = answer;
  const stages: [string, number][] = [
    ['queue', timing.queueMs],
    ['gather', timing.gatherMs],
    ['copy', timing.copyMs],
    ['compute', timing.computeMs],
    ['total', timing.totalMs],
  ];
  return {
    'warmlane-lane': answer.lane,
    'warmlane-shape': headerText(answer.shapeKey),
    'server-timing': stages.map(([name, ms]) => `${name};dur=${ms.toFixed(3)}`).join(', '),
  };
}

/** A header holds ASCII alone: anything else in a name is percent-encoded, as the reserved characters are already. */
function headerText(shapeKey: string): string {
  return shapeKey.replace(/[^\x21-\x7e]/gu, encodeURIComponent);
}
