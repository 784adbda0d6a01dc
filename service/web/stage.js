// What the stage shows: the invitation, the camera, one photo or a grid; below it the answer.

import { byId, write } from "./dom.js";
import { drawHeatmap } from "./heatmap.js";
import { text } from "./languages.js";

const VIEWS = ["invite", "video", "preview", "grid"];
let evidence = null; // heatmap of the answer on the stage
let isHeatmapOn = false;

export function startStage() {
  const preview = byId("preview");
  preview.addEventListener("load", showHeatmap); // its aspect ratio is known now
  preview.addEventListener("error", () => showView("invite")); // a kind of photo that this browser can't show
  byId("show-heatmap").addEventListener("click", () => {
    isHeatmapOn = !isHeatmapOn;
    showHeatmap();
  });
}

/** Show one of the views, and hide the others. */
export function showView(name) {
  for (const id of VIEWS) byId(id).hidden = id !== name;
  byId("stage").dataset.view = name;
  showHeatmap();
}

export function showPhoto(photo) {
  const preview = byId("preview");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(photo);
  showView("preview");
}

/** Show {kind, title, detail, unfamiliar}; kind is busy, yes, no, unsure or error. Nothing is shown for null. */
export function showAnswer(verdict, source = "", heatmap = null) {
  const answer = byId("answer");
  answer.hidden = verdict === null;
  if (verdict) {
    answer.className = verdict.kind;
    write("verdict", verdict.title);
    byId("verdict").classList.toggle("long", verdict.title.length > 14);
    write("sure", verdict.detail);
    write("source", source);
    byId("unfamiliar").hidden = !verdict.unfamiliar;
  }
  evidence = heatmap;
  showHeatmap();
}

function showHeatmap() {
  const button = byId("show-heatmap");
  const canvas = byId("heatmap");
  const preview = byId("preview");
  button.hidden = evidence === null || preview.hidden;
  button.setAttribute("aria-pressed", String(isHeatmapOn));
  canvas.hidden = button.hidden || !isHeatmapOn || !preview.naturalWidth;
  if (!canvas.hidden) drawHeatmap(canvas, evidence, preview.naturalWidth / preview.naturalHeight);
}

/** Return the words for who answered, and how fast. */
export function sourceText(source, milliseconds) {
  return text(`source.${source}`, { milliseconds: Math.max(1, Math.round(milliseconds)) });
}
