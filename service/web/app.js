// Wires the page: photos come in, the classifier answers, the stage shows it.

import { Camera } from "./camera.js";
import { classify, describeService, startClassifier, state } from "./classifier.js";
import { byId } from "./dom.js";
import { Failure } from "./failure.js";
import { fillCell, fillGrid } from "./grid.js";
import { labelText, startLanguages, text } from "./languages.js";
import { openWith, registerServiceWorker, sharedPhotos } from "./offline.js";
import { openReport } from "./report.js";
import { setKey } from "./service.js";
import { showSettings, startSettings } from "./settings.js";
import { signal, startSignals } from "./signals.js";
import { showAnswer, showPhoto, showView, sourceText, startStage } from "./stage.js";
import { failureOf, verdictOf } from "./verdict.js";

const camera = new Camera(byId("video"));
let newest = 0; // an earlier answer must not overwrite a later one
let wanted = 0; // the last one of them that waits for the camera
let results = []; // of the grid, or the one photo
let opened = null; // the result on the stage
let isContinuous = false;

/** Return {photo, prediction, source, verdict} of a photo, or {photo, failure, verdict}. */
async function answer(photo, isSmall) {
  let result;
  try {
    result = { photo, ...(await classify(photo, isSmall)) };
  } catch (error) {
    result = { photo, failure: error instanceof Failure ? error : new Failure("failed") };
  }
  return inWords(result);
}

function inWords(result) {
  result.verdict = result.prediction ? verdictOf(result.prediction) : failureOf(result.failure, result.photo.name);
  return result;
}

function showResult(result) {
  opened = result;
  const { verdict, prediction, source } = result;
  showAnswer(verdict, prediction ? sourceText(source, prediction.milliseconds) : "", prediction?.heatmap ?? null);
  if (result.failure?.kind === "key") {
    byId("key-form").hidden = false;
    byId("key").focus();
  }
  showTools();
}

function showTools() {
  byId("wrong").hidden = byId("preview").hidden || !(opened?.prediction && state.described?.feedback);
  byId("wrong").textContent = text(opened?.receipt ? "wrong.again" : "wrong");
  byId("back").hidden = results.length < 2 || !byId("grid").hidden;
  byId("tools").hidden = [...byId("tools").children].every((button) => button.hidden);
  byId("shutter").setAttribute("aria-label", text(byId("video").hidden ? "camera.open" : "camera.take"));
}

function showBusy() {
  opened = null;
  byId("key-form").hidden = true;
  showAnswer({ kind: "busy", title: text("busy"), detail: "" });
  showTools();
}

async function ask(photos, isSmall = false) {
  stopContinuous();
  const mine = ++newest;
  results = photos.map((photo) => ({ photo }));
  if (photos.length > 1) return askMany(mine);
  showPhoto(photos[0]);
  showBusy();
  const result = await answer(photos[0], isSmall);
  if (mine !== newest) return undefined;
  results = [result];
  showResult(result);
  return result.prediction && signal(result.verdict.kind);
}

async function askMany(mine) {
  const list = byId("grid");
  fillGrid(list, results, open);
  showView("grid");
  showBusy();
  for (const [index, { photo }] of results.entries()) {
    const result = await answer(photo);
    if (mine !== newest) return;
    results[index] = result;
    fillCell(list, index, result.verdict);
    if (result.failure?.kind === "key") return showResult(result);
  }
  if (!list.hidden) showCount();
}

function open(result) {
  const found = results.find(({ photo }) => photo === result.photo);
  showPhoto(found.photo);
  showResult(found);
  byId("back").focus();
}

function showCount() {
  opened = null;
  const yes = results.filter(({ verdict }) => verdict?.kind === "yes").length;
  const described = state.described ?? state.model; // null: nobody has answered
  const label = described && labelText(described.positive_label);
  showAnswer(described && { kind: "count", title: text("grid.count", { label, yes, all: results.length }), detail: "" });
  showTools();
}

async function openCamera() {
  const mine = (wanted = ++newest);
  try {
    await camera.start();
  } catch {
    camera.stop();
    if (mine === newest) showAnswer(failureOf(new Failure("camera")));
    return false;
  }
  if (mine !== newest) {
    if (mine === wanted) camera.stop(); // a photo came meanwhile
    return false;
  }
  results = [];
  opened = null;
  showView("video");
  showAnswer(null);
  showTools();
  return true;
}

async function pressShutter() {
  if (!Camera.isAvailable) return byId("camera").click();
  stopContinuous();
  if (byId("video").hidden || !camera.isOn) return openCamera();
  return ask([await camera.picture()], true);
}

async function startContinuous() {
  if (!Camera.isAvailable || !(await openCamera())) return;
  isContinuous = true;
  byId("continuous").setAttribute("aria-pressed", "true");
  const mine = newest;
  let said = "";
  while (isContinuous && mine === newest) {
    const picture = await camera.picture().catch(stopContinuous);
    const result = picture && (await answer(picture, true));
    if (!isContinuous || mine !== newest) return;
    showResult(result);
    if (result.failure) return stopContinuous();
    if (result.verdict.kind !== said) signal(result.verdict.kind);
    said = result.verdict.kind;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function stopContinuous() {
  isContinuous = false;
  byId("continuous").setAttribute("aria-pressed", "false");
}

function wirePhotos() {
  for (const id of ["photo", "camera"]) {
    const input = byId(id);
    input.addEventListener("change", () => {
      if (input.files.length) askFiles(input.files);
      input.value = ""; // so that choosing the same photo again asks again
    });
  }
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      byId("stage").classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) askFiles(event.dataTransfer.files);
    });
  }
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) askFiles(event.clipboardData.files);
  });
}

function askFiles(files) {
  camera.stop();
  return ask([...files]);
}

function wireButtons() {
  byId("shutter").addEventListener("click", pressShutter);
  byId("continuous").hidden = !Camera.isAvailable;
  byId("continuous").addEventListener("click", () => (isContinuous ? stopContinuous() : startContinuous()));
  byId("wrong").addEventListener("click", () => openReport(opened, rightLabels(opened.prediction)));
  byId("feedback").addEventListener("close", showTools);
  byId("inside").addEventListener("click", (event) => {
    if (!opened || !("caches" in window) || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const { href } = byId("inside");
    openWith(opened.photo, href).catch(() => location.assign(href));
  });
  byId("back").addEventListener("click", () => {
    showView("grid");
    showCount();
    byId("grid").querySelector("button").focus();
  });
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setKey(byId("key").value);
    byId("key").value = "";
    byId("key-form").hidden = true;
    describeService();
    if (results.length) ask(results.map(({ photo }) => photo));
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden || !camera.isOn) return;
    stopContinuous();
    camera.stop();
    if (!byId("video").hidden) showView("invite");
    showTools();
  });
}

/** The other label is right; where the model can't tell, either may be. */
function rightLabels({ label, uncertain }) {
  const labels = [state.described.positive_label, state.described.negative_label];
  return uncertain ? labels : labels.filter((each) => each !== label);
}

function showAll() {
  showSettings();
  showTools();
}

function translate() {
  showAll();
  results.forEach((result, index) => {
    if (result.verdict) inWords(result);
    if (results.length > 1) fillCell(byId("grid"), index, result.verdict);
  });
  if (opened) showResult(inWords(opened));
  else if (!byId("grid").hidden) showCount();
}

await startLanguages(byId("language"), translate);
startStage();
startSettings();
startSignals(byId("sound"), byId("vibration"));
wirePhotos();
wireButtons();
showView("invite");
showAll();
startClassifier(showAll, registerServiceWorker());
const photos = await sharedPhotos();
if (photos.length) ask(photos);
