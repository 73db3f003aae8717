import { expect, it } from 'vitest';
import type { Answer } from './answer.codec.js';
import { LateAnswers } from './late-answers.js';

it('forgets what is past its time, and of too many the oldest', () => {
  const late = new LateAnswers();
  const seen: (Answer | null)[] = [];
  late.add('over', 0, (answer) => void seen.push(answer));
  late.add('soon', 60_000, (answer) => void seen.push(answer));
  late.tidy();
  late.settle('over', null);
  expect([late.has('over'), late.has('soon'), seen]).toEqual([false, true, []]);
  for (let n = 0; n < 10_000; n += 1) late.add(`r${n}`, 60_000, () => undefined);
  expect([late.size, late.has('soon'), late.has('r0'), late.has('r9999')]).toEqual([10_000, false, true, true]);
  late.settle('r0', null);
  expect(late.size).toBe(9_999);
});
