// Runs web/inside.onnx, a model whose stages are outputs too, on a photo. The photo stays here.

import { canvasIsExact, squareOf } from "../read.js";

const MAPS = 8; // of each stage that the page shows
let loading;

self.addEventListener("message", async ({ data: { id, photo, size } }) => {
  try {
    postMessage({ id, square: await squareOf(photo, size), isExact: canvasIsExact() });
  } catch {
    return postMessage({ id, error: "no-photo" });
  }
  try {
    loading ??= load();
    postMessage({ id, result: await look(await loading, photo) });
  } catch (error) {
    loading = undefined; // try again the next time
    console.error(error);
    postMessage({ id, error: error.message === "absent" ? "absent" : "model" });
  }
});

async function load() {
  const file = await bytesOf(new URL("../inside.onnx", import.meta.url));
  const ort = await import("../ort/ort.wasm.bundle.min.mjs");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = await (await fetch(new URL("../ort/ort-wasm-simd-threaded.wasm", import.meta.url))).arrayBuffer();
  return { ort, session: await ort.InferenceSession.create(file, { executionProviders: ["wasm"] }) };
}

/** Fetch the model; posts {loaded, total} in bytes meanwhile. */
async function bytesOf(url) {
  const response = await fetch(url);
  if (response.status === 404) throw new Error("absent");
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  const total = Number(response.headers.get("Content-Length"));
  const chunks = [];
  let loaded = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    postMessage({ loaded: (loaded += value.length), total: Math.max(total, loaded) });
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

/** Return what the page shows of a photo: the description of the file, and the values that it names. */
async function look({ ort, session }, photo) {
  const size = session.inputMetadata[0].shape[1];
  const square = await squareOf(photo, size);
  const outputs = await session.run({ pixels: new ort.Tensor("uint8", square, [1, size, size, 3]) });
  const description = JSON.parse(new TextDecoder().decode(outputs.description.data));
  const { normalised } = description;
  const stages = description.stages.map((stage) => ({ ...stage, maps: strongest(outputs[stage.output]) }));
  return {
    ...description,
    square,
    normalised: [0, 1, 2].map((channel) => mapOf(outputs[normalised], channel)),
    kernels: { dims: outputs.kernels.dims, data: outputs.kernels.data },
    stages,
    relu: activation(outputs, stages),
    pooling: pooling(outputs, stages),
    skip: skip(outputs, description.skip),
    heatmap: rows(outputs.heatmap),
  };
}

/** Return the maps with the largest mean magnitude, the strongest first. */
function strongest(tensor) {
  return allMaps(tensor).sort((one, other) => other.strength - one.strength).slice(0, MAPS);
}

function allMaps(tensor) {
  return Array.from({ length: tensor.dims[1] }, (_, channel) => mapOf(tensor, channel));
}

function mapOf({ dims: [, , height, width], data }, channel) {
  const values = data.slice(channel * height * width, (channel + 1) * height * width);
  return { channel, width, height, values, strength: values.reduce((sum, value) => sum + Math.abs(value), 0) / values.length };
}

/** Return the channel of the first activation that it changes most, before and after; null where there is none. */
function activation(outputs, stages) {
  const at = stages.findIndex(({ kind }) => kind === "activation");
  if (at < 1) return null;
  const [before, after] = [stages[at - 1].output, stages[at].output];
  const balance = ({ values }) => Math.min(...[1, -1].map((sign) => values.reduce((sum, value) => sum + Math.max(0, sign * value), 0)));
  const balances = allMaps(outputs[before]).map(balance);
  return sameChannel(outputs, [before, after], balances.indexOf(Math.max(...balances)));
}

/** Return the strongest channel of the first max pooling, before and after; null where there is none. */
function pooling(outputs, stages) {
  const at = stages.findIndex(({ kind }) => kind === "max pooling");
  if (at < 1) return null;
  return sameChannel(outputs, [stages[at - 1].output, stages[at].output], stages[at].maps[0].channel);
}

/** Return the strongest channel of the first sum, in both inputs and in the sum; null where there is none. */
function skip(outputs, names) {
  if (!names) return null;
  return sameChannel(outputs, [names.input, names.branch, names.sum], strongest(outputs[names.sum])[0].channel);
}

function sameChannel(outputs, names, channel) {
  return names.map((name) => mapOf(outputs[name], channel));
}

function rows({ dims: [, height, width], data }) {
  return Array.from({ length: height }, (_, row) => [...data.slice(row * width, (row + 1) * width)]);
}
