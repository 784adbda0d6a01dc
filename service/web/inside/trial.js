// The convolution to try out: a kernel, and sliders for stride, padding and dilation.

import { byId, write } from "../dom.js";
import { text } from "../languages.js";
import { convolve, greyscale, KERNELS, outputSide } from "./convolution.js";
import * as draw from "./draw.js";

export const SIDE = 224; // pixels of the picture
export const number = (value) => new Intl.NumberFormat(document.documentElement.lang, { maximumSignificantDigits: 3 }).format(value);
const SLIDERS = ["stride", "padding", "dilation"];
let picture = null; // greyscale

/** Wire the controls. */
export function startTrial() {
  byId("kernel").append(...Object.keys(KERNELS).map((name) => new Option("", name)));
  for (const id of ["kernel", ...SLIDERS]) byId(id).addEventListener("input", show);
}

/** Use another picture, uint8 RGB [SIDE, SIDE, 3]. */
export function setPicture(rgb) {
  picture = greyscale(rgb);
  byId("trial").hidden = false;
  byId("trial-input").replaceChildren(draw.map({ values: picture, width: SIDE, height: SIDE }, false, 255));
  show();
}

/** Write the texts again, in another language. */
export function translateTrial() {
  for (const option of byId("kernel").options) option.textContent = text(`kernel.${option.value}`);
  if (picture) show();
}

function show() {
  const { rows, isSigned } = KERNELS[byId("kernel").value];
  const [s, p, d] = SLIDERS.map((id) => Number(byId(id).value));
  for (const id of SLIDERS) write(`${id}-value`, byId(id).value);
  const window = { n: SIDE, k: rows.length, s, p, d };
  const side = outputSide(window);
  byId("weights").replaceChildren(...rows.map(weightsRow));
  write("formula", `⌊(${SIDE} + 2 · ${p} − ${d} · (${rows.length} − 1) − 1) / ${s}⌋ + 1 = ${side}`);
  write("trial-size", text("trial.size", { n: SIDE, side, reach: d * (rows.length - 1) + 1 }));
  const made = draw.map({ values: convolve(picture, rows, window), width: side, height: side }, isSigned, 255);
  byId("trial-output").replaceChildren(made);
  const widest = SIDE + 2 * Number(byId("padding").max); // pictures have the scale of the photo
  for (const [id, pixels] of [["trial-input", SIDE], ["trial-output", side]]) {
    byId(id).firstChild.style.width = `${(100 * pixels) / widest}%`;
  }
}

function weightsRow(row) {
  const made = document.createElement("tr");
  for (const weight of row) made.insertCell().textContent = number(weight);
  return made;
}
