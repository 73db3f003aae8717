import { type LaneDoc, modelConfigSchema, newId, type WarmRecord, type WorkerDoc } from '@warmlane/contracts';
import type { ModelRegistration } from '@warmlane/redis';

export const X = 'x:float32[1,3,48,320]';
export const Y = 'x:float32[1,3,48,640]';
export const Z = 'x:float32[1,3,48,960]';

export const RECORD: WarmRecord = {
  firstMs: 12.5,
  createMs: 80,
  captureMs: null,
  steadyP50Ms: 3.25,
  steadyP99Ms: 4,
  revisitP50Ms: 3.3,
  revisit: 'shapes',
  relativeError: 1e-6,
  tolerance: 1e-4,
  inputs: 'guessed',
  samples: 2,
  optionsParsed: {},
  placement: { CPUExecutionProvider: 12 },
  graph: 'not captured: the provider is cpu',
  memoryBytes: 123_456,
  environment: 'env',
  verifiedAt: '2026-01-01T00:00:00.000Z',
};

export function laneDoc(over: Partial<LaneDoc> = {}): LaneDoc {
  return {
    id: newId(),
    model: 'rec',
    version: '1',
    shapeKey: X,
    state: 'CREATING',
    since: '2026-01-01T00:00:00.000Z',
    reason: 'in the plan',
    trigger: 'plan',
    worker: 'w-0',
    epoch: 1,
    record: null,
    ...over,
  };
}

export function readyDoc(over: Partial<LaneDoc> = {}): LaneDoc {
  return laneDoc({ state: 'READY', reason: '', record: RECORD, ...over });
}

export function workerDoc(over: Partial<WorkerDoc> = {}): WorkerDoc {
  return {
    id: 'w-0',
    host: 'host',
    device: 'cpu',
    provider: 'cpu',
    epoch: 1,
    state: 'serving',
    since: '2026-01-01T00:00:00.000Z',
    reason: '',
    memory: { budget: 1, used: 0 },
    lanes: { READY: 1 },
    pid: 1,
    environment: 'env',
    models: ['rec/1'],
    ...over,
  };
}

export function registration(over: Partial<ModelRegistration> = {}): ModelRegistration {
  return {
    name: 'rec',
    version: '1',
    state: 'LOADED',
    reason: '',
    digest: 'a'.repeat(64),
    metadata: {
      inputs: [{ name: 'x', dtype: 'float32', dims: ['N', 3, 48, 'W'] }],
      outputs: [{ name: 'y', dtype: 'float32', dims: ['N', 'T', 6625] }],
    },
    config: modelConfigSchema.parse({}),
    ...over,
  };
}
