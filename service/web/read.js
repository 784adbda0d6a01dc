// Decodes a photo in a worker, and reads its pixels.

import { square } from "./square.js";

const STRIP = 1 << 20; // pixels that are read back from the canvas at a time

/** Return a photo as a model's input: Uint8Array [size, size, 3], RGB. Rejects where the browser can't decode it. */
export async function squareOf(photo, size) {
  const start = new Uint8Array(await photo.slice(0, 3).arrayBuffer());
  const isJpeg = start[0] === 0xff && start[1] === 0xd8;
  const bitmap = await createImageBitmap(photo, { imageOrientation: "from-image" });
  try {
    return square(readable(bitmap), size, isJpeg);
  } finally {
    bitmap.close();
  }
}

/** Read a bitmap on white, in strips: a canvas of a whole photo is larger than some browsers allow. */
function readable(bitmap) {
  const { width, height } = bitmap;
  const most = Math.max(1, Math.floor(STRIP / width));
  const canvas = new OffscreenCanvas(width, Math.min(height, most));
  const context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
  let top = -1;
  let strip;
  const read = (y, rows) => {
    if (top < 0 || y < top || y + rows > top + strip.height) {
      if (rows > canvas.height) canvas.height = rows;
      top = y;
      context.fillStyle = "white";
      context.fillRect(0, 0, width, canvas.height);
      context.drawImage(bitmap, 0, -y);
      strip = context.getImageData(0, 0, width, Math.min(canvas.height, height - y));
    }
    return strip.data.subarray((y - top) * width * 4, (y - top + rows) * width * 4);
  };
  return { width, height, read };
}

/** Some browsers change what is read back from a canvas, so that pages can't recognise a person by it. */
export function canvasIsExact() {
  const side = 16;
  const context = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true, alpha: false });
  const pattern = new ImageData(side, side);
  for (let at = 0; at < pattern.data.length; at++) pattern.data[at] = at % 4 === 3 ? 255 : (at * 37) % 256;
  context.putImageData(pattern, 0, 0);
  const found = context.getImageData(0, 0, side, side).data;
  return found.every((value, at) => value === pattern.data[at]);
}
