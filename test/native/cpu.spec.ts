import { LaneSession, OrtRuntime } from '@warmlane/ort';
import { laneConformance } from './conformance.js';

const runtime = OrtRuntime.load();

laneConformance({
  name: 'CPU provider',
  cpuModels: true,
  graphs: false,
  create: (model, inputs) => LaneSession.create(runtime, { model: { bytes: model.bytes }, provider: 'cpu', inputs }),
});
