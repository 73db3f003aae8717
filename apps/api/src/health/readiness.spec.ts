import { type LaneDoc, type ModelDoc, modelConfigSchema, type PlanEntry, type WorkerDoc } from '@warmlane/contracts';
import { describe, expect, it } from 'vitest';
import { type FleetSnapshot, startProblems, versionProblems } from './readiness.js';

const SHAPE = 'x:float32[1,3]';
const OTHER = 'x:float32[2,3]';

function model(
  version: string,
  change: Partial<ModelDoc> = {},
  config: Record<string, unknown> = { shapes: [SHAPE] },
): ModelDoc {
  return {
    name: 'rec',
    version,
    state: 'LOADED',
    reason: '',
    digest: 'd',
    metadata: { inputs: [], outputs: [] },
    config: modelConfigSchema.parse(config),
    wasReady: false,
    retired: false,
    registeredAt: '',
    ...change,
  };
}

function entry(shapeKey: string, change: Partial<PlanEntry> = {}): PlanEntry {
  return {
    shapeKey,
    declared: true,
    warmups: [],
    replicas: 1,
    priority: 5,
    required: true,
    options: {},
    tune: false,
    addedAt: '',
    held: [],
    ...change,
  };
}

function lane(shapeKey: string, state: LaneDoc['state'], change: Partial<LaneDoc> = {}): LaneDoc {
  return {
    id: `${shapeKey}-${state}`,
    model: 'rec',
    version: '1',
    shapeKey,
    state,
    since: '',
    reason: '',
    trigger: 'plan',
    worker: 'w-0',
    epoch: 3,
    record: null,
    ...change,
  };
}

function worker(state: WorkerDoc['state'] = 'serving'): WorkerDoc {
  return {
    id: 'w-0',
    host: 'h',
    device: 'cpu',
    provider: 'cpu',
    epoch: 3,
    state,
    since: '',
    reason: '',
    memory: { budget: 0, used: 0 },
    lanes: {},
    pid: 1,
    environment: '',
    models: ['rec/1', 'rec/2'],
  };
}

function fleet(change: Partial<FleetSnapshot> = {}): FleetSnapshot {
  return {
    models: [model('1')],
    plans: new Map([['rec/1', [entry(SHAPE)]]]),
    lanes: [],
    workers: [worker()],
    live: new Map([['w-0', 3]]),
    ...change,
  };
}

describe('startProblems', () => {
  it('asks for a worker that serves', () => {
    expect(startProblems(fleet({ workers: [] }))).toEqual(['no worker serves yet']);
    expect(startProblems(fleet({ workers: [worker('starting')] }))).toEqual(['no worker serves yet']);
    expect(startProblems(fleet({ live: new Map() }))).toEqual(['no worker serves yet']);
  });

  it('names each required shape that is not warm, with the reason', () => {
    const plans = new Map([['rec/1', [entry(SHAPE), entry(OTHER), entry('x:float32[9,9]', { required: false })]]]);
    const lanes = [lane(SHAPE, 'FAILED', { reason: 'Conv needs 3 channels' })];
    expect(startProblems(fleet({ plans, lanes }))).toEqual([
      `rec/1 ${SHAPE}: FAILED: Conv needs 3 channels`,
      `rec/1 ${OTHER}: no lane yet`,
    ]);
  });

  it('counts READY and SUSPECT on a live worker in its epoch alone', () => {
    expect(startProblems(fleet({ lanes: [lane(SHAPE, 'READY')] }))).toEqual([]);
    expect(startProblems(fleet({ lanes: [lane(SHAPE, 'SUSPECT')] }))).toEqual([]);
    expect(startProblems(fleet({ lanes: [lane(SHAPE, 'READY', { epoch: 2 })] }))).toHaveLength(1);
    expect(startProblems(fleet({ lanes: [lane(SHAPE, 'VERIFYING')] }))).toEqual([`rec/1 ${SHAPE}: VERIFYING`]);
  });

  it('is content with a version that was ready once, whatever a newer one does', () => {
    const models = [model('1', { wasReady: true }), model('2', { state: 'LOADING' })];
    expect(startProblems(fleet({ models }))).toEqual([]);
  });

  it('waits for a version that loads, and for a failed one that declares required shapes', () => {
    expect(startProblems(fleet({ models: [model('1', { state: 'LOADING' })] }))).toEqual(['rec/1 is LOADING']);
    const failed = model('1', { state: 'FAILED', reason: 'not a protobuf' });
    expect(startProblems(fleet({ models: [failed] }))).toEqual(['rec/1 is FAILED: not a protobuf']);
  });

  it('is not held up by what nobody requires', () => {
    expect(startProblems(fleet({ models: [model('1', { state: 'FAILED' }, {})], plans: new Map() }))).toEqual([]);
    expect(startProblems(fleet({ models: [model('1', { state: 'UNLOADED' })] }))).toEqual([]);
    expect(startProblems(fleet({ models: [], plans: new Map() }))).toEqual([]);
    const optional = model('1', {}, { shapes: [SHAPE], required: false });
    const plans = new Map([['rec/1', [entry(SHAPE, { required: false })]]]);
    expect(startProblems(fleet({ models: [optional], plans }))).toEqual([]);
  });

  it('does not take a failed optional version for the ready one', () => {
    const models = [model('1'), model('2', { state: 'FAILED' }, {})];
    expect(startProblems(fleet({ models }))).toEqual([`rec/1 ${SHAPE}: no lane yet`]);
  });
});

describe('versionProblems', () => {
  it('asks for a loaded version on a live worker, and its required shapes warm now', () => {
    const ready = fleet({ lanes: [lane(SHAPE, 'READY')] });
    expect(versionProblems(model('1', { wasReady: true }), ready)).toEqual([]);
    expect(versionProblems(model('1', { state: 'UNLOADED' }), ready)).toEqual(['rec/1 is UNLOADED']);
    expect(versionProblems(model('3'), ready)).toEqual(['rec/3: no live worker holds it']);
    expect(versionProblems(model('1', { wasReady: true }), fleet())).toEqual([`rec/1 ${SHAPE}: no lane yet`]);
    const held = fleet({ plans: new Map([['rec/1', [entry(SHAPE, { held: ['w-0'] })]]]) });
    expect(versionProblems(model('1'), held)).toEqual([`rec/1 ${SHAPE}: held back by an eviction`]);
  });
});
