// Fills the sections of the page with what worker.js found.

import { byId, write } from "../dom.js";
import { drawHeatmap } from "../heatmap.js";
import { labelText, percent, text } from "../languages.js";
import * as draw from "./draw.js";
import { number } from "./trial.js";

const KEPT = 4; // maps in the picture of dropout
const count = (value) => new Intl.NumberFormat(document.documentElement.lang).format(value);
const photo = document.createElement("img");
photo.alt = "";

/** Use another photo. */
export function showPhoto(blob) {
  URL.revokeObjectURL(photo.src);
  photo.src = URL.createObjectURL(blob);
}

/** Show a result of worker.js. */
export function showSections(result) {
  showSquare(result);
  showFirst(result);
  showPairs(result);
  showStages(result);
  showHeatmap(result);
  showAnswer(result);
  showCounts(result);
  write("version", text("version", result));
}

/** Return a picture with its caption. */
function figure(content, caption) {
  const made = document.createElement("figure");
  const picture = document.createElement("div");
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", caption);
  picture.append(...[content].flat());
  made.append(picture, Object.assign(document.createElement("figcaption"), { textContent: caption }));
  return made;
}

/** Return several pictures of one size with a caption. */
function gallery(contents, caption, className) {
  const made = figure(contents, caption);
  made.firstChild.className = className;
  return made;
}

function showSquare({ square, size, normalised }) {
  byId("photo-pictures").replaceChildren(
    figure(photo, text("photo.chosen")),
    figure(draw.pixels(square, size), text("photo.square", { size })),
  );
  const all = normalised.flatMap(({ values }) => [extreme(Math.min, values), extreme(Math.max, values)]);
  write("normalisation-idea", text("normalisation.idea", { low: number(Math.min(...all)), high: number(Math.max(...all)) }));
  const names = ["red", "green", "blue"];
  byId("channel-pictures").replaceChildren(
    ...normalised.map((plane, channel) => figure(draw.map(plane, true), text(`channel.${names[channel]}`))),
  );
}

function extreme(choose, values) {
  return values.reduce((one, other) => choose(one, other));
}

function showFirst({ kernels, first, stages, square, size }) {
  const [channels, , rows, columns] = kernels.dims;
  const area = 3 * rows * columns;
  const pictures = Array.from({ length: channels }, (_, index) =>
    draw.kernel(kernels.data.subarray(index * area, (index + 1) * area), rows, columns),
  );
  byId("kernel-pictures").replaceChildren(gallery(pictures, text("kernels.picture", { channels, rows, columns }), "kernels"));
  write("kernels-idea", text("kernels.idea", { channels, rows, columns }));
  const [convolution] = stages;
  byId("convolution-pictures").replaceChildren(stageMaps(convolution, square, size));
  write("stride-idea", text("stride.idea", { stride: first.stride[0], size, side: convolution.height }));
}

/** Show one channel before and after: ReLU, pooling, and the sum of a skip connection. */
function showPairs({ relu, pooling, skip }) {
  showMaps("relu", relu, ["relu.before", "relu.after"]);
  showMaps("pooling", pooling, ["pooling.before", "pooling.after"]);
  showMaps("skip", skip, ["skip.input", "skip.branch", "skip.sum"]);
}

function showMaps(id, maps, captions) {
  const target = byId(`${id}-pictures`);
  if (!maps) return target.replaceChildren(Object.assign(document.createElement("p"), { textContent: text(`${id}.none`) }));
  const isSigned = maps.some(({ values }) => values.some((value) => value < 0));
  return target.replaceChildren(
    ...maps.map((map, index) => figure(draw.map(map, isSigned), text(captions[index], { ...map, channel: map.channel + 1 }))),
  );
}

function showStages({ stages, square, size }) {
  const later = stages.filter(({ kind }) => kind === "stage" || kind === "max pooling");
  byId("stages").replaceChildren(...later.map((stage) => stageMaps(stage, square, size)));
  const { maps } = stages.at(-1);
  const kept = new Set(maps.map((_, index) => index).sort(() => Math.random() - 0.5).slice(0, KEPT));
  const pictures = maps.map((map, index) => draw.map(kept.has(index) ? map : { ...map, values: map.values.map(() => 0) }));
  byId("dropout-pictures").replaceChildren(gallery(pictures, text("dropout.picture"), "maps"));
}

/** Return the strongest maps of a stage, beside the receptive field of the strongest value on the photo. */
function stageMaps(stage, square, size) {
  const isSigned = stage.maps.some(({ values }) => values.some((value) => value < 0));
  const made = document.createElement("div");
  const heading = Object.assign(document.createElement("h3"), { textContent: stage.name });
  const field = stage.receptive_field.join(" × ");
  const words = { ...stage, stride: stage.stride[0], field, channels: count(stage.channels), shown: stage.maps.length };
  made.className = "stage";
  made.append(
    heading,
    Object.assign(document.createElement("p"), { textContent: text("stage.size", words) }),
    figure(draw.boxed(square, size, fieldOf(stage)), text("stage.field", words)),
    gallery(stage.maps.map((map) => draw.map(map, isSigned)), text("stage.maps", words), "maps"),
  );
  return made;
}

/** Return the receptive field of the strongest value of a stage, in pixels of the square. */
function fieldOf({ maps: [{ values, width: across }], centre, stride, receptive_field: [height, width] }) {
  const at = values.reduce((best, value, index) => (Math.abs(value) > Math.abs(values[best]) ? index : best), 0);
  const [y, x] = [Math.floor(at / across), at % across].map((place, axis) => centre[axis] + place * stride[axis] + 0.5);
  return { left: x - width / 2, top: y - height / 2, width, height };
}

function showHeatmap({ heatmap, square, size, positive_label }) {
  const label = labelText(positive_label);
  const [height, width] = [heatmap.length, heatmap[0].length];
  byId("cam-pictures").replaceChildren(figure(grid(heatmap), text("cam.picture", { height, width })));
  write("cam-idea", text("cam.idea", { label }));
  byId("upsampling-pictures").replaceChildren(
    figure(overlay(square, size, heatmap, nearest), text("upsampling.nearest")),
    figure(overlay(square, size, heatmap), text("upsampling.bilinear")),
  );
  write("upsampling-idea", text("upsampling.idea", { height, width, size }));
}

function grid(heatmap) {
  return draw.map({ values: heatmap.flat(), width: heatmap[0].length, height: heatmap.length }, true);
}

/** Return the value of the cell that a place of the photo is in; x and y are in [0, 1). */
function nearest(heatmap, x, y) {
  return heatmap[Math.floor(y * heatmap.length)][Math.floor(x * heatmap[0].length)];
}

function overlay(square, size, heatmap, valueAt) {
  const layer = draw.canvas(0, 0, "overlay");
  drawHeatmap(layer, heatmap, 1, valueAt);
  return [draw.pixels(square, size), layer];
}

function showAnswer({ heatmap, temperature, threshold, positive_label }) {
  const values = heatmap.flat();
  const logit = values.reduce((sum, value) => sum + value, 0) / values.length;
  const x = logit / temperature;
  const share = new Intl.NumberFormat(document.documentElement.lang, { style: "percent", maximumSignificantDigits: 3 });
  const words = {
    logit: number(logit), temperature: number(temperature), x: number(x), probability: share.format(draw.sigmoid(x)),
    threshold: percent(threshold), label: labelText(positive_label),
  };
  draw.sigmoidCurve(byId("sigmoid"), x, threshold);
  byId("sigmoid").setAttribute("aria-label", text("sigmoid.picture", words));
  write("sigmoid-numbers", text("sigmoid.numbers", words));
  write("sigmoid-idea", text("sigmoid.idea", words));
}

function showCounts({ first, head, total }) {
  const rows = [[first.name, first], [head.name, head], [text("dense.total"), total]];
  byId("counts").replaceChildren(
    ...rows.map(([name, { parameters, fully_connected }]) => {
      const row = document.createElement("tr");
      row.append(Object.assign(document.createElement("th"), { scope: "row", textContent: name }));
      for (const value of [parameters, fully_connected]) row.insertCell().textContent = count(value);
      return row;
    }),
  );
}
