// The model on this device: web/model.json describes it, worker.js runs it.

import { Failure } from "./failure.js";

let model = null;
let worker;
let loading;
let last = 0;
const waiting = new Map(); // id of a message -> {resolve, reject}

const SECONDS = 10; // until the description of the model counts as absent
const RECENT = 5; // inferences whose median counts, so that one slow moment changes nothing
const recent = [];

/** milliseconds: median duration of the last inferences; undefined until the model is loaded. */
export const speed = { milliseconds: undefined };

export async function describe() {
  const response = await fetch("web/model.json", { cache: "no-cache", signal: AbortSignal.timeout(SECONDS * 1000) }).catch(() => null);
  model = response?.ok ? await response.json().catch(() => null) : null;
  return model;
}

/**
 * Load the model once. Throws a Failure: canvas-not-exact, or model if it can't be loaded.
 * @param progress called with the bytes that are loaded and their total
 */
export function load(progress) {
  loading ??= start(progress).catch(async (error) => {
    worker.terminate();
    if (error.message === "canvas-not-exact") throw new Failure(error.message);
    loading = undefined; // try again the next time
    const earlier = model?.url;
    if ((await describe()) && model.url !== earlier) return load(progress); // a promotion has replaced it
    throw new Failure("model");
  });
  return loading;
}

/** Return the prediction of a photo, with its heatmap and milliseconds. Throws a Failure: no-photo. */
export async function predict(photo) {
  try {
    const prediction = await ask("predict", photo);
    recent.push(prediction.milliseconds);
    if (recent.length > RECENT) recent.shift();
    speed.milliseconds = [...recent].sort((a, b) => a - b)[recent.length >> 1];
    return prediction;
  } catch {
    throw new Failure("no-photo");
  }
}

async function start(progress) {
  worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  worker.addEventListener("message", ({ data }) => {
    if ("loaded" in data) return progress(data.loaded, data.total);
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    return "error" in data ? reject(new Error(data.error)) : resolve(data.result);
  });
  worker.addEventListener("error", () => {
    for (const { reject } of waiting.values()) reject(new Error("the worker failed"));
    waiting.clear();
  });
  await ask("load", { model: located(model), wasm: located(model.wasm) });
  await predict(await blank());
}

/** Return a file with its whole address; web/model.json names it relative to itself. */
function located(file) {
  return { ...file, url: new URL(file.url, new URL("model.json", import.meta.url)).href };
}

function ask(call, argument) {
  return new Promise((resolve, reject) => {
    waiting.set(++last, { resolve, reject });
    worker.postMessage({ id: last, call, argument });
  });
}

function blank() {
  const canvas = document.createElement("canvas");
  return new Promise((resolve) => canvas.toBlob(resolve));
}
