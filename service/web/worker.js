// The model on the device: photo -> square -> ONNX Runtime (WebAssembly, one thread) -> verdict. The photo stays here.
//
// No threads: they need cross-origin isolation, and iOS runs out of memory. No WebGPU: it crashes on iOS 26.

import * as ort from "./ort/ort.wasm.bundle.min.mjs";
import { canvasIsExact, squareOf } from "./read.js";

let session;
let served; // web/model.json: address, labels, threshold and the rest of the model's metadata

const ANSWERS = { load, predict };

self.addEventListener("message", async ({ data: { id, call, argument } }) => {
  try {
    postMessage({ id, result: await ANSWERS[call](argument) });
  } catch (error) {
    postMessage({ id, error: String(error?.message ?? error) });
  }
});

/** Load the model; posts {loaded, total} in bytes meanwhile. Returns its description. */
async function load({ model, wasm }) {
  served = model;
  const total = model.bytes + wasm.bytes;
  let before = 0;
  const progress = (loaded) => postMessage({ loaded: before + loaded, total });
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = await bytesOf(wasm.url, progress);
  before = wasm.bytes;
  const file = await bytesOf(model.url, progress);
  session = await ort.InferenceSession.create(file, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
  if (!canvasIsExact()) throw new Error("canvas-not-exact");
  await infer(new Uint8Array(model.size * model.size * 3)); // the first inference takes longer
  return model;
}

async function bytesOf(url, progress) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  const chunks = [];
  let loaded = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    progress((loaded += value.length));
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

/** Return what POST /v1/predict says of a photo, with the heatmap, and how long inference took, in milliseconds. */
async function predict(photo) {
  const pixels = await squareOf(photo, served.size);
  const started = performance.now();
  const { probability, heatmap, familiarity } = await infer(pixels);
  const milliseconds = performance.now() - started;
  const [, rows, columns] = heatmap.dims;
  return {
    ...verdict(probability.data[0], familiarity?.data[0]),
    heatmap: Array.from({ length: rows }, (_, row) => [...heatmap.data.slice(row * columns, (row + 1) * columns)]),
    milliseconds,
  };
}

async function infer(pixels) {
  const { size } = served;
  return session.run({ pixels: new ort.Tensor("uint8", pixels, [1, size, size, 3]) });
}

function verdict(probability, familiarity) {
  const positive = probability >= served.threshold;
  return {
    label: positive ? served.positive_label : served.negative_label,
    [served.positive_label]: positive,
    probability,
    uncertain: served.uncertain_low < probability && probability < served.uncertain_high,
    ...(familiarity === undefined || served.familiarity_level === null ? {} : { unfamiliar: familiarity < served.familiarity_level }),
  };
}
