// The same square of pixels as service/photo.py makes: reduce by whole factors, then Pillow's BILINEAR (a triangle filter).
// tests/browser compares both on real photos.

const REDUCING_GAP = 2; // as _REDUCING_GAP in service/photo.py
const ONE = 2 ** 22; // Pillow's weights are fixed-point numbers with 22 bits

/**
 * Return an image as a model's input: Uint8Array [size, size, 3], RGB, the aspect ratio given up.
 * @param image upright; read(y, rows) gives RGBA rows on white, Uint8ClampedArray [rows, width, 4]
 * @param isJpeg whether the service would decode the photo at a reduced scale
 */
export function square(image, size, isJpeg) {
  const shortest = Math.min(image.width, image.height);
  const scale = isJpeg ? [8, 4, 2].find((each) => each * size <= shortest) ?? 1 : 1;
  const factor = Math.max(1, Math.floor(Math.ceil(shortest / scale) / (size * REDUCING_GAP)));
  let pixels = reduce(image, scale * factor, scale * factor);
  const spare = [pixels.width, pixels.height].map((side) => Math.max(1, Math.floor(side / size / REDUCING_GAP)));
  const box = [pixels.width / spare[0], pixels.height / spare[1]];
  if (Math.max(...spare) > 1) pixels = reduce(rows(pixels), ...spare);
  // Pillow 13 resizes a tall image from top to bottom first; values are rounded in between.
  if (pixels.height > Math.max(size, 2 * pixels.width - size)) {
    return resizeColumns(resizeRows(pixels, size, box[1]), size, box[0]).data;
  }
  return resizeRows(resizeColumns(pixels, size, box[0]), size, box[1]).data;
}

/** Average blocks of pixels; those at the right and bottom edges have what is left. */
function reduce(image, across, down) {
  const width = Math.ceil(image.width / across);
  const height = Math.ceil(image.height / down);
  const data = new Uint8Array(width * height * 3);
  const sums = new Uint32Array(width * 3);
  for (let y = 0; y < height; y++) {
    const count = Math.min(down, image.height - y * down);
    const source = image.read(y * down, count);
    sums.fill(0);
    for (let at = 0, row = 0; row < count; row++) {
      for (let x = 0; x < image.width; x++, at += 4) {
        const to = Math.floor(x / across) * 3;
        sums[to] += source[at];
        sums[to + 1] += source[at + 1];
        sums[to + 2] += source[at + 2];
      }
    }
    for (let x = 0; x < width; x++) {
      const area = count * Math.min(across, image.width - x * across);
      const share = Math.floor(2 ** 24 / area); // as Pillow divides
      for (let channel = 0; channel < 3; channel++) {
        const sum = sums[x * 3 + channel] + Math.floor(area / 2);
        data[(y * width + x) * 3 + channel] = Math.floor((sum * share) / 2 ** 24);
      }
    }
  }
  return { width, height, data };
}

function rows({ width, height, data }) {
  const read = (y, count) => {
    const four = new Uint8ClampedArray(width * count * 4);
    for (let from = y * width * 3, to = 0; to < four.length; from += 3, to += 4) {
      four[to] = data[from];
      four[to + 1] = data[from + 1];
      four[to + 2] = data[from + 2];
    }
    return four;
  };
  return { width, height, read };
}

/** Return, for each output pixel, the first input pixel and the weights of those from it on. */
function triangles(side, size, box) {
  const scale = box / size;
  const reach = Math.max(1, scale);
  return Array.from({ length: size }, (_, output) => {
    const centre = (output + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(side, Math.trunc(centre + reach + 0.5));
    const weights = [];
    for (let input = first; input < end; input++) {
      weights.push(Math.max(0, 1 - Math.abs((input - centre + 0.5) / reach)));
    }
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: weights.map((weight) => Math.trunc(0.5 + (weight / total) * ONE)) };
  });
}

function resizeColumns({ width, height, data }, size, box) {
  const filters = triangles(width, size, box);
  const out = new Uint8Array(size * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < size; x++) mix(data, (y * width + filters[x].first) * 3, 3, filters[x].weights, out, (y * size + x) * 3);
  }
  return { width: size, height, data: out };
}

function resizeRows({ width, height, data }, size, box) {
  const filters = triangles(height, size, box);
  const out = new Uint8Array(width * size * 3);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < width; x++) mix(data, (filters[y].first * width + x) * 3, width * 3, filters[y].weights, out, (y * width + x) * 3);
  }
  return { width, height: size, data: out };
}

function mix(data, from, step, weights, out, to) {
  for (let channel = 0; channel < 3; channel++) {
    let sum = ONE / 2;
    for (let at = from + channel, index = 0; index < weights.length; at += step, index++) sum += data[at] * weights[index];
    out[to + channel] = Math.min(255, Math.floor(sum / ONE));
  }
}
