// The dialog of settings, and the lines of the page that follow from them: privacy, progress and notice.

import { choose, place, state } from "./classifier.js";
import { byId, write } from "./dom.js";
import { megabytes, text } from "./languages.js";

export function startSettings() {
  const dialog = byId("settings");
  for (const id of ["open-settings", "change"]) byId(id).addEventListener("click", () => dialog.showModal());
  for (const radio of document.querySelectorAll("[name=where]")) radio.addEventListener("change", () => choose(radio.value));
}

export function showSettings() {
  const { phone, model } = state;
  const isPossible = { automatic: true, phone: !["none", "inexact"].includes(phone), service: state.service };
  for (const radio of document.querySelectorAll("[name=where]")) {
    radio.checked = radio.value === state.where;
    radio.disabled = !isPossible[radio.value] && !radio.checked;
  }
  write("privacy", privacy());
  write("where-note", text(`phone.${phone}`, { size: model && megabytes(model.bytes + model.wasm.bytes) }));
  const version = (place() === "phone" ? model : state.described)?.version;
  write("model", version ? text("model", { version }) : "");
  byId("notice").hidden = phone !== "inexact";
  write("notice", phone === "inexact" ? text("phone.inexact") : "");
  byId("inside").hidden = !state.service; // static pages don't have that page
  byId("loading").hidden = phone !== "loading";
  byId("progress").value = state.total ? state.loaded / state.total : 0;
  write("loaded", text("loading", { loaded: megabytes(state.loaded), total: megabytes(state.total) }));
}

/** Return what is true of the current choice. */
function privacy() {
  const { described } = state;
  const key = state.where === "automatic" && state.service && place() === "phone" ? "automatic" : place();
  if (key === "phone") return text(described?.feedback ? "privacy.phone.feedback" : "privacy.phone");
  const stored = !described ? "unknown" : described.collects ? "collect" : described.feedback ? "feedback" : "none";
  return `${text(`privacy.${key}`)} ${text(`privacy.stored.${stored}`)}`;
}
