import { describe, expect, it } from 'vitest';
import {
  classQueueName,
  coldQueueName,
  parseQueueKey,
  parseQueueName,
  printQueueName,
  warmLaneQueueName,
} from './queue-names.js';

describe('queue names', () => {
  it('are these texts', () => {
    expect(classQueueName('rec', '2', 'x:float32[b,3,48,320]')).toBe('run.rec.2.x%3Afloat32%5Bb%2C3%2C48%2C320%5D');
    expect(coldQueueName('pp.rec_v4-1', '12')).toBe('cold.pp%2Erec_v4-1.12');
    expect(warmLaneQueueName('host.local-cpu-0')).toBe('warm-lane.host.local-cpu-0');
    expect(() => warmLaneQueueName('a:b')).toThrow(/letters, digits/);
  });

  it('never hold a colon, which BullMQ refuses', () => {
    expect(classQueueName('a', '1', 'x%3A:string[]')).not.toContain(':');
  });

  it('parse and print are inverse, also where names hold dots', () => {
    for (const name of [
      'inference',
      'warmup',
      'warm-model',
      classQueueName('a.1', '2', '3.x:float32[1]'),
      classQueueName('a', '1', '2.3.x:float32[1]'),
      classQueueName('a', '1', 'x%3B:bool[];y.z:int64[4]'),
      coldQueueName('a.b', '3'),
      warmLaneQueueName('w-0.local'),
    ]) {
      const parsed = parseQueueName(name);
      expect(parsed, name).not.toBeNull();
      if (parsed !== null) expect(printQueueName(parsed)).toBe(name);
    }
    expect(classQueueName('a.1', '2', '3.x:float32[1]')).not.toBe(classQueueName('a', '1', '2.3.x:float32[1]'));
  });

  it('refuses other names', () => {
    for (const name of ['', 'run', 'run.a', 'run.a.1', 'run.a.1.', 'run.a.x.c', 'cold.a', 'cold.a.1.b', 'cold.%41.1']) {
      expect(parseQueueName(name), name).toBeNull();
    }
  });

  it('tells BullMQ keys from others', () => {
    expect(parseQueueKey('{wl}:cold.a.1:wait')).toEqual({
      queue: { kind: 'cold', model: 'a', version: '1' },
      rest: 'wait',
    });
    expect(parseQueueKey('{wl}:lane:1')).toBeNull();
    expect(parseQueueKey('bull:cold.a.1:wait')).toBeNull();
  });
});
