// Draws arrays of numbers as pictures.

import { AGAINST, FOR } from "../heatmap.js";

const SVG = "http://www.w3.org/2000/svg";
const BOX = ["#000", "#ffd400"]; // an outline that is visible on every photo
const EDGE = 2.5; // half of its width, in pixels

/** Return a canvas; what it shows is said by the picture around it. */
export function canvas(width, height, className = "") {
  const made = document.createElement("canvas");
  Object.assign(made, { width, height, className });
  made.setAttribute("aria-hidden", "true");
  return made;
}

/** Return uint8 RGB pixels as a canvas. */
export function pixels(rgb, side) {
  return paint(side, side, (at) => rgb.subarray(3 * at, 3 * at + 3));
}

/**
 * Return a map as a canvas: bright is strong. Where values are negative, red is positive and blue is negative.
 * @param largest the magnitude with the strongest colour
 */
export function map({ values, width, height }, isSigned = values.some((value) => value < 0), largest = magnitude(values)) {
  return paint(width, height, (at) => colour(values[at] / largest, isSigned));
}

/** Return one kernel, float32 [3, rows, columns], as a canvas: grey is no weight. */
export function kernel(weights, rows, columns) {
  const area = rows * columns;
  const largest = magnitude(weights);
  return paint(columns, rows, (at) => [0, 1, 2].map((channel) => 128 + (127 * weights[channel * area + at]) / largest));
}

/** Return the square with a box around {left, top, width, height}, in pixels of the square. */
export function boxed(rgb, side, { left, top, width, height }) {
  const made = pixels(rgb, side);
  const context = made.getContext("2d");
  const [x, y] = [left, top].map((start) => Math.max(EDGE, start));
  const [right, bottom] = [left + width, top + height].map((end) => Math.min(side - EDGE, end));
  BOX.forEach((stroke, index) => {
    context.strokeStyle = stroke;
    context.lineWidth = 2 * EDGE - 3 * index;
    context.strokeRect(x, y, Math.max(1, right - x), Math.max(1, bottom - y));
  });
  return made;
}

/**
 * Fill an svg of 340 x 200 with the sigmoid and one point on it.
 * @param x where the point is; threshold: where the answer changes, in (0, 1)
 */
export function sigmoidCurve(svg, x, threshold) {
  const reach = Math.max(6, Math.ceil(Math.abs(x) * 1.1));
  const across = (value) => 30 + (300 * (value + reach)) / (2 * reach);
  const up = (share) => 170 - 150 * share;
  const steps = Array.from({ length: 121 }, (_, step) => (step / 60 - 1) * reach);
  const parts = [
    ["path", { class: "axis", d: `M30 ${up(0)}H330M${across(0)} ${up(0)}V${up(1)}` }],
    ["path", { class: "threshold", d: `M30 ${up(threshold)}H330` }],
    ["path", { class: "curve", d: `M${steps.map((step) => `${across(step)} ${up(sigmoid(step))}`).join("L")}` }],
    ["circle", { class: "point", cx: across(x), cy: up(sigmoid(x)), r: 6 }],
    ...[0, 1].map((share) => ["text", { x: 24, y: up(share) + 4, "text-anchor": "end" }, share]),
    ...[-reach, 0, reach].map((value) => ["text", { x: across(value), y: 188, "text-anchor": "middle" }, value]),
  ];
  svg.replaceChildren(
    ...parts.map(([name, attributes, words]) => {
      const element = document.createElementNS(SVG, name);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      element.textContent = words ?? "";
      return element;
    }),
  );
}

export const sigmoid = (x) => 1 / (1 + Math.exp(-x));

function colour(share, isSigned) {
  const strength = Math.min(1, Math.abs(share));
  if (!isSigned) return [255, 255, 255].map((most) => (share > 0 ? most * strength : 0));
  return (share > 0 ? FOR : AGAINST).map((full) => 255 + (full - 255) * strength);
}

function magnitude(values) {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9);
}

function paint(width, height, colourOf) {
  const made = canvas(width, height, "values");
  const context = made.getContext("2d");
  const image = context.createImageData(width, height);
  for (let at = 0; at < width * height; at++) {
    image.data.set(colourOf(at), 4 * at);
    image.data[4 * at + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return made;
}
