// Wires the page /inside: a photo comes in, worker.js runs the network, sections.js shows what it found.

import { byId, write } from "../dom.js";
import { megabytes, startLanguages, text } from "../languages.js";
import { sharedPhotos } from "../offline.js";
import { showPhoto, showSections } from "./sections.js";
import { SIDE, setPicture, startTrial, translateTrial } from "./trial.js";

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
let newest = 0; // the result of an earlier photo must not overwrite that of a later one
let status = { key: "waiting", values: {} };
let shown = null; // the result on the page

function say(key, values = {}) {
  status = { key, values };
  showStatus();
}

function showStatus() {
  write("status", text(status.key, status.values));
  byId("command").hidden = status.key !== "error.absent-file";
  byId("progress").hidden = status.key !== "loading.file";
}

function open(photo) {
  say("busy");
  showPhoto(photo);
  worker.postMessage({ id: ++newest, photo, size: SIDE });
}

worker.addEventListener("message", ({ data }) => {
  if ("loaded" in data) {
    byId("progress").value = data.loaded / data.total;
    return say("loading.file", { loaded: megabytes(data.loaded), total: megabytes(data.total) });
  }
  if (data.id !== newest) return undefined;
  if ("square" in data) {
    setPicture(data.square);
    byId("status").dataset.exact = data.isExact;
    return undefined;
  }
  shown = data.result ?? null;
  byId("network").hidden = !shown;
  if (!shown) return say({ absent: "error.absent-file", model: "error.model-file" }[data.error] ?? "error.unreadable");
  showSections(shown);
  return say(byId("status").dataset.exact === "true" ? "done" : "done.inexact");
});
worker.addEventListener("error", () => say("error.model-file"));

byId("photo").addEventListener("change", ({ target }) => {
  if (target.files.length) open(target.files[0]);
  target.value = ""; // so that the same photo can be chosen again
});

startTrial();
await startLanguages(
  byId("language"),
  () => {
    showStatus();
    translateTrial();
    if (shown) showSections(shown);
  },
  "web/inside/languages",
);
translateTrial();
showStatus();
const [photo] = await sharedPhotos();
if (photo) open(photo);
