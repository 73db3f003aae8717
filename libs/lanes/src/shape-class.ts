/**
 * The shape class of a lane: which queue its requests wait in. Without a declared or verified batch axis a class is the
 * shape key itself.
 */
export function classOfShape(shapeKey: string): string {
  return shapeKey;
}
