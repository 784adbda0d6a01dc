// Draws a heatmap as service/overlay.py does: red is evidence for the positive label, blue is evidence against it.

export const FOR = [214, 32, 32];
export const AGAINST = [24, 82, 214];
const MAX_OPACITY = 0.75; // the photo stays visible under the strongest evidence
const MIN_SCALE = 1; // logit; keeps the colours pale when all evidence is weak
const LONG_SIDE = 256; // pixels of the canvas; the page scales it up

/** Draw a heatmap, an array of rows, on a canvas that has the aspect ratio of the photo. */
export function drawHeatmap(canvas, heatmap, aspect, valueAt = bilinear) {
  canvas.width = Math.max(1, Math.round(LONG_SIDE * Math.min(1, aspect)));
  canvas.height = Math.max(1, Math.round(LONG_SIDE * Math.min(1, 1 / aspect)));
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const scale = Math.max(MIN_SCALE, ...heatmap.flat().map(Math.abs));
  for (let y = 0, at = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++, at += 4) {
      const evidence = valueAt(heatmap, (x + 0.5) / canvas.width, (y + 0.5) / canvas.height);
      image.data.set(evidence > 0 ? FOR : AGAINST, at);
      image.data[at + 3] = Math.round((255 * MAX_OPACITY * Math.abs(evidence)) / scale);
    }
  }
  context.putImageData(image, 0, 0);
}

/** Return the value at a place of the photo; x and y are in [0, 1], and cells have their values at their centres. */
function bilinear(heatmap, x, y) {
  const [left, right, across] = neighbours(x, heatmap[0].length);
  const [top, bottom, down] = neighbours(y, heatmap.length);
  const mix = (row) => row[left] * (1 - across) + row[right] * across;
  return mix(heatmap[top]) * (1 - down) + mix(heatmap[bottom]) * down;
}

function neighbours(place, count) {
  const centre = Math.min(count - 1, Math.max(0, place * count - 0.5));
  const first = Math.floor(centre);
  return [first, Math.min(count - 1, first + 1), centre - first];
}
