/** The 16 lanes of text recognition that `warm16` warms. */
export const SHAPES = [1, 2, 4, 8].flatMap((batch) =>
  [160, 240, 320, 480].map((width) => `x:float32[${batch},3,48,${width}]`),
);
