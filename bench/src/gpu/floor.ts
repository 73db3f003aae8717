import { percentile } from '@warmlane/lanes';
import { modelPath, openCaptured, randomInputs, type Stage } from './stage.js';

export interface FloorRow {
  part: 'floor';
  what: 'small' | 'large';
  model: string;
  shapeKey: string;
  inputBytes: number;
  /** The graph alone. */
  replayP50Ms: number;
  /** With input and output over the bus. */
  laneP50Ms: number;
  /** The copy of the request's bytes into the pinned slot, by JavaScript. */
  slotCopyP50Ms: number;
  /** The copy of the answer's bytes out of the pinned slot, by JavaScript. */
  answerCopyP50Ms: number;
  outputBytes: number;
  ratio: number;
}

const RUNS = 400;
const CASES = [
  { what: 'small', model: 'rec', shapeKey: 'x:float32[1,3,48,320]' },
  { what: 'large', model: 'det', shapeKey: 'x:float32[2,3,736,1280]' },
] as const;

/** What a lane adds to the replay of its graph. The runs of both are the same ones: each is split by the clock. */
export async function measureFloor(stage: Stage): Promise<FloorRow[]> {
  const rows: FloorRow[] = [];
  for (const { what, model, shapeKey } of CASES) {
    const inputs = randomInputs(shapeKey, 7);
    const { lane } = await openCaptured(stage, modelPath(stage, model), shapeKey, {
      cudnn_conv_algo_search: 'HEURISTIC',
    });
    try {
      const replay: number[] = [];
      const whole: number[] = [];
      const slot: number[] = [];
      const answer: number[] = [];
      let outputBytes = 0;
      for (let run = 0; run < RUNS; run += 1) {
        const start = performance.now();
        for (const tensor of inputs) lane.inputView(tensor.name).set(tensor.data);
        const inSlot = performance.now();
        const { computeMs, outputs } = lane.runInPlace();
        const done = performance.now();
        whole.push(done - inSlot);
        outputBytes = outputs.reduce((sum, tensor) => sum + tensor.data.slice().byteLength, 0);
        answer.push(performance.now() - done);
        slot.push(inSlot - start);
        replay.push(computeMs);
      }
      const replayP50Ms = percentile(replay, 0.5);
      const laneP50Ms = percentile(whole, 0.5);
      rows.push({
        part: 'floor',
        what,
        model,
        shapeKey,
        inputBytes: inputs.reduce((sum, tensor) => sum + tensor.data.byteLength, 0),
        replayP50Ms,
        laneP50Ms,
        slotCopyP50Ms: percentile(slot, 0.5),
        answerCopyP50Ms: percentile(answer, 0.5),
        outputBytes,
        ratio: laneP50Ms / replayP50Ms,
      });
    } finally {
      lane.close();
    }
  }
  return rows;
}
