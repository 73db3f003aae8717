import { describe, expect, it } from 'vitest';
import { ERROR_CODES, type ErrorCode, isErrorCode, parseErrorBody, WarmlaneError } from './errors.js';

describe('errors', () => {
  it('survive the way over JSON', () => {
    for (const code of Object.keys(ERROR_CODES) as ErrorCode[]) {
      const error = new WarmlaneError(code, `m ${code}`, 'h');
      const body = parseErrorBody(JSON.stringify(error.toBody()));
      expect(body).toEqual({ code, message: `m ${code}`, hint: 'h', retryable: ERROR_CODES[code].retryable });
      if (body !== null) expect(WarmlaneError.fromBody(body).status).toBe(ERROR_CODES[code].status);
    }
  });

  it.each(['', 'text', '1', 'null', '{}', '{"code":"nope","message":"m"}', '{"code":"poison"}'])(
    'reads %j as no error body',
    (text) => {
      expect(parseErrorBody(text)).toBeNull();
    },
  );

  it('does not take inherited property names for codes', () => {
    expect(isErrorCode('toString')).toBe(false);
    expect(isErrorCode('poison')).toBe(true);
  });

  it('keeps the cause of a foreign error', () => {
    const cause = new TypeError('boom');
    const error = WarmlaneError.from(cause);
    expect([error.code, error.cause]).toEqual(['internal', cause]);
    expect(WarmlaneError.from(error)).toBe(error);
  });
});
