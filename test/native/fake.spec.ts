import { FakeLane } from '@warmlane/testing';
import { laneConformance } from './conformance.js';

for (const graphs of [false, true]) {
  laneConformance({
    name: graphs ? 'fake with graphs' : 'fake',
    cpuModels: true,
    graphs,
    create: async (model, inputs) =>
      new FakeLane({
        inputs,
        outputs: model.metadata.outputs,
        compute: model.compute,
        graphs: graphs && model.dataDependent !== true,
      }),
  });
}
