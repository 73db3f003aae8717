import { describe, expect, it } from 'vitest';
import { DEMO_MODELS, mixRequests } from './demo-plan.js';

describe('the demo', () => {
  it('names at least eight shapes of two models', () => {
    expect(DEMO_MODELS.map((model) => model.name)).toEqual(['det', 'rec']);
    expect(DEMO_MODELS.flatMap((model) => model.named).length).toBeGreaterThanOrEqual(8);
    expect(DEMO_MODELS.flatMap((model) => model.unnamed).length).toBeGreaterThan(0);
  });

  it('mixes the shapes evenly, every tenth request of one that nobody named', () => {
    const shapes = Array.from({ length: 13 }, (_, at) => ({ named: at < 10 }));
    const requests = mixRequests(shapes, 300);
    const count = (at: number) => requests.filter((request) => request.shape === at).length;
    expect(shapes.map((_, at) => count(at))).toEqual([...Array<number>(10).fill(27), ...Array<number>(3).fill(10)]);
    expect(requests.filter((request, at) => at > 0 && request.shape === requests[at - 1]?.shape)).toHaveLength(0);
    expect(mixRequests(shapes, 300)).toEqual(requests);
  });
});
