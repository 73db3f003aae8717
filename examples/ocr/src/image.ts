import { PNG } from 'pngjs';

/** Grey pixels, 0 black to 255 white, row by row. */
export interface GreyImage {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8Array;
}

/** A rectangle in pixels; right and bottom lie outside. */
export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** Throws where the bytes are no PNG. */
export function readPng(bytes: Buffer): GreyImage {
  const { width, height, data } = PNG.sync.read(bytes);
  const pixels = new Uint8Array(width * height);
  for (let at = 0; at < pixels.length; at += 1) {
    const [red = 0, green = 0, blue = 0] = data.subarray(4 * at, 4 * at + 3);
    pixels[at] = Math.round(0.299 * red + 0.587 * green + 0.114 * blue);
  }
  return { width, height, pixels };
}

/** A part of an image in another size, bilinear; grey from 0 to 255 as floats, `height` x `width`. */
export function resize(image: GreyImage, box: Box, width: number, height: number): Float32Array {
  const out = new Float32Array(width * height);
  const scaleX = (box.right - box.left) / width;
  const scaleY = (box.bottom - box.top) / height;
  for (let y = 0; y < height; y += 1) {
    const sourceY = clamp(box.top + (y + 0.5) * scaleY - 0.5, image.height - 1);
    for (let x = 0; x < width; x += 1) {
      out[y * width + x] = sample(image, clamp(box.left + (x + 0.5) * scaleX - 0.5, image.width - 1), sourceY);
    }
  }
  return out;
}

function clamp(value: number, most: number): number {
  return Math.min(Math.max(value, 0), most);
}

function sample({ width, height, pixels }: GreyImage, x: number, y: number): number {
  const left = Math.floor(x);
  const top = Math.floor(y);
  const right = Math.min(left + 1, width - 1);
  const bottom = Math.min(top + 1, height - 1);
  const at = (column: number, row: number): number => pixels[row * width + column] ?? 0;
  const upper = at(left, top) * (1 - (x - left)) + at(right, top) * (x - left);
  const lower = at(left, bottom) * (1 - (x - left)) + at(right, bottom) * (x - left);
  return upper * (1 - (y - top)) + lower * (y - top);
}
