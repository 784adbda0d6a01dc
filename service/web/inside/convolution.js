// One convolution over a greyscale picture, to try out.

/** Each kernel is square; signed ones respond to positive and negative edges. */
export const KERNELS = {
  edges: { isSigned: true, rows: [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]] },
  vertical: { isSigned: true, rows: [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]] },
  horizontal: { isSigned: true, rows: [[-1, -2, -1], [0, 0, 0], [1, 2, 1]] },
  blur: { isSigned: false, rows: Array.from({ length: 5 }, () => Array(5).fill(1 / 25)) },
  sharpen: { isSigned: false, rows: [[0, -1, 0], [-1, 5, -1], [0, -1, 0]] },
};

/** Return the side of the output for a side n of the input, a kernel side k, stride s, padding p and dilation d. */
export function outputSide({ n, k, s, p, d }) {
  return Math.floor((n + 2 * p - d * (k - 1) - 1) / s) + 1;
}

/** Return a square picture as greyscale values in [0, 255], Float32Array [side, side]. */
export function greyscale(rgb) {
  // The weights of ITU-R BT.601.
  return Float32Array.from({ length: rgb.length / 3 }, (_, at) => 0.299 * rgb[3 * at] + 0.587 * rgb[3 * at + 1] + 0.114 * rgb[3 * at + 2]);
}

/** Convolve a square picture, n x n values; zeros are around it. Returns Float32Array [side, side]. */
export function convolve(values, kernel, { n, k, s, p, d }) {
  const side = outputSide({ n, k, s, p, d });
  const out = new Float32Array(side * side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      let sum = 0;
      for (let row = 0; row < k; row++) {
        const from = y * s - p + row * d;
        if (from < 0 || from >= n) continue;
        for (let column = 0; column < k; column++) {
          const across = x * s - p + column * d;
          if (across >= 0 && across < n) sum += kernel[row][column] * values[from * n + across];
        }
      }
      out[y * side + x] = sum;
    }
  }
  return out;
}
