// Re-encode a photo: upright, on white, at most 1,024 px long, JPEG without EXIF data.

const LONG_SIDE = 1024;
const QUALITY = 0.9;

/** Return the re-encoded photo as {blob, width, height}; rejects where the browser can't decode it. */
export async function shrink(photo) {
  const bitmap = await createImageBitmap(photo, { imageOrientation: "from-image" });
  try {
    return await encode(bitmap, bitmap.width, bitmap.height);
  } finally {
    bitmap.close();
  }
}

/** Return anything that a canvas can draw as {blob, width, height}. */
export async function encode(source, width, height) {
  const scale = Math.min(1, LONG_SIDE / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d", { alpha: false });
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  if (!blob) throw new Error("the canvas can't be encoded");
  return { blob, width: canvas.width, height: canvas.height };
}
