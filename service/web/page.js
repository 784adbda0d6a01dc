"use strict";

const byId = (id) => document.getElementById(id);
let newest = 0; // the answer to an earlier photo must not overwrite that to a later one

const inWords = (label) => {
  const words = label.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
};

function show(kind, verdict, sure, unfamiliar = false) {
  byId("answer").className = kind;
  byId("verdict").textContent = verdict;
  byId("sure").textContent = sure;
  byId("unfamiliar").hidden = !unfamiliar;
}

function showPrediction(prediction, positive) {
  const yes = prediction[positive];
  const chance = yes ? prediction.probability : 1 - prediction.probability;
  const percent = `${Math.min(99, Math.round(chance * 100))}% sure`;
  const sure = prediction.uncertain ? `but only ${percent}` : percent;
  show(yes ? "yes" : "no", inWords(prediction.label), sure, prediction.unfamiliar);
}

async function ask(photo) {
  const mine = ++newest;
  const preview = byId("preview");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(photo);
  preview.hidden = false;
  byId("invite").hidden = true;
  show("busy", "Looking …", "");
  try {
    const form = new FormData();
    form.append("image", photo, photo.name || "photo");
    const response = await fetch("v1/predict", { method: "POST", body: form });
    const answer = await response.json();
    if (mine !== newest) return;
    if (response.ok) showPrediction(answer.predictions[0], answer.model.name);
    else show("error", answer.title, answer.detail);
  } catch {
    if (mine === newest) show("error", "No answer", "The service can't be reached, or did not answer; try again.");
  }
}

for (const id of ["photo", "camera"]) {
  const input = byId(id);
  input.addEventListener("change", () => {
    if (input.files.length) ask(input.files[0]);
    input.value = ""; // so that choosing the same photo again asks again
  });
}

const drop = byId("drop");
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) ask(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) ask(event.clipboardData.files[0]);
});
byId("preview").addEventListener("error", () => {
  byId("preview").hidden = true; // a kind of photo that this browser can't show
  byId("invite").hidden = false;
});

fetch("v1/model")
  .then((response) => response.json())
  .then((model) => { if (model.version) byId("model").textContent = `Model ${model.version}.`; })
  .catch(() => {});
