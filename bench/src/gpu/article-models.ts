import { bytesOf, model, type Node, noise, tensor } from '@warmlane/testing';

const CHANNELS = 64;
const LAYERS = 8;

/** x float32 [N,64,L] -> eight 1-d convolutions of width 9 with Relu -> y [N,64,L]. */
export function conv1dStack(): Uint8Array {
  const layers = Array.from({ length: LAYERS }, (_, at) => at);
  return model({
    name: 'conv1d_stack',
    nodes: layers.flatMap((at) => [
      {
        op: 'Conv',
        inputs: [at === 0 ? 'x' : `r${at - 1}`, `w${at}`],
        outputs: [`c${at}`],
        attributes: { kernel_shape: { ints: [9] }, pads: { ints: [4, 4] } },
      },
      { op: 'Relu', inputs: [`c${at}`], outputs: [at === LAYERS - 1 ? 'y' : `r${at}`] },
    ]),
    inputs: [{ name: 'x', dtype: 'float32', dims: ['N', CHANNELS, 'L'] }],
    outputs: [{ name: 'y', dtype: 'float32', dims: ['N', CHANNELS, 'L'] }],
    initializers: layers.map((at) =>
      tensor(`w${at}`, 'float32', [CHANNELS, CHANNELS, 9], bytesOf(noise(CHANNELS * CHANNELS * 9, 0.08, at + 1))),
    ),
  });
}

/** x float32 [N,64,H,W] -> float16 -> six 3x3 convolutions with Relu in float16 -> y float32 [N,64,H,W]. */
export function float16ConvStack(): Uint8Array {
  const layers = Array.from({ length: 6 }, (_, at) => at);
  const last = layers.length - 1;
  return model({
    name: 'float16_conv_stack',
    nodes: [
      { op: 'Cast', inputs: ['x'], outputs: ['h'], attributes: { to: { int: 10 } } },
      ...layers.flatMap((at): Node[] => [
        { op: 'Cast', inputs: [`w${at}`], outputs: [`v${at}`], attributes: { to: { int: 10 } } },
        {
          op: 'Conv',
          inputs: [at === 0 ? 'h' : `r${at - 1}`, `v${at}`],
          outputs: [`c${at}`],
          attributes: { kernel_shape: { ints: [3, 3] }, pads: { ints: [1, 1, 1, 1] } },
        },
        { op: 'Relu', inputs: [`c${at}`], outputs: [`r${at}`] },
      ]),
      { op: 'Cast', inputs: [`r${last}`], outputs: ['y'], attributes: { to: { int: 1 } } },
    ],
    inputs: [{ name: 'x', dtype: 'float32', dims: ['N', CHANNELS, 'H', 'W'] }],
    outputs: [{ name: 'y', dtype: 'float32', dims: ['N', CHANNELS, 'H', 'W'] }],
    initializers: layers.map((at) =>
      tensor(`w${at}`, 'float32', [CHANNELS, CHANNELS, 3, 3], bytesOf(noise(CHANNELS * CHANNELS * 9, 0.08, at + 1))),
    ),
  });
}
