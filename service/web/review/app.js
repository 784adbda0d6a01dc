// Wires the review page: photos come from the queue, a person decides, the service records it.

import { byId, write } from "../dom.js";
import { drawHeatmap } from "../heatmap.js";
import * as api from "./api.js";
import { Queue } from "./queue.js";
import { startSwipes } from "./swipe.js";
import { facts, labelText } from "./words.js";

const FEW = 30; // photos in the queue, below which further ones are loaded
const queue = new Queue(byId("queue"), open, showSelection);
let labels = { positive: "", negative: "" };
let counts = { waiting: 0, accepted: 0, dropped: 0 };
let after = null; // where the next page begins; null: there is none
let current = null;
let isHeatmapOn = false;
let generation = 0; // an answer to earlier filters must not fill the queue
let loading = null;
let working = Promise.resolve(); // the last request that counts photos or changes one
const history = []; // of decisions, for undo: {photos, before, mine}
const actions = {}; // by key: what a button does

const filters = () => Object.fromEntries(new FormData(byId("filters")));

/** Load the queue from its start. */
async function restart() {
  const mine = ++generation;
  write("message", "");
  queue.clear();
  after = null;
  loading = null;
  await inTurn(() => load(mine, null));
  open(queue.photos[0] ?? null);
}

async function load(mine, from) {
  const page = await attempt(() => api.list(filters(), from));
  if (!page || mine !== generation) return;
  ({ counts, after } = page);
  if (labels.positive !== page.positive_label) useLabels(page);
  write("export", `seefood inbox --inbox ${page.inbox} export FOLDER`);
  queue.add(page.photos);
  write("drift", page.drift ?? "");
  byId("drift").hidden = !page.drift;
  byId("main").hidden = byId("progress-line").hidden = false;
  byId("key-form").hidden = true;
  showCounts();
}

/** Load the next page where few photos are left. */
function refill(isWanted = queue.photos.length < FEW) {
  const mine = generation;
  if (after && isWanted) loading ??= inTurn(() => load(mine, after)).finally(() => (loading = null));
  return loading;
}

/** Run a request; show why it was refused, and return nothing then. */
async function attempt(request) {
  try {
    return await request();
  } catch (refused) {
    if (refused.status === 401) {
      api.forgetKey();
      byId("main").hidden = byId("progress-line").hidden = true;
      byId("key-form").hidden = false;
      byId("key").focus();
    }
    write("message", refused.message);
    return undefined;
  }
}

async function open(photo) {
  current = photo;
  queue.mark(photo);
  byId("photo").hidden = byId("heatmap").hidden = true;
  byId("empty").hidden = photo !== null;
  showFacts();
  if (!photo) return;
  const url = await attempt(() => api.photo(photo.id));
  if (!url || current !== photo) return;
  byId("photo").src = url;
  byId("photo").hidden = false;
  if (queue.photos[1]) api.photo(queue.photos[1].id).catch(() => {}); // the next one is likely to follow
  showHeatmap();
}

async function showHeatmap() {
  const photo = current;
  byId("show-heatmap").setAttribute("aria-pressed", String(isHeatmapOn));
  byId("heatmap").hidden = true;
  if (!isHeatmapOn || !photo) return;
  photo.evidence ??= await attempt(() => api.heatmap(photo.id));
  await byId("photo").decode().catch(() => {});
  if (!photo.evidence || current !== photo || !isHeatmapOn) return;
  drawHeatmap(byId("heatmap"), photo.evidence.heatmap, byId("photo").naturalWidth / byId("photo").naturalHeight);
  byId("heatmap").hidden = false;
}

function showFacts() {
  byId("facts").replaceChildren(...(current ? facts(current, labels.positive) : []).map(({ text, kind, sender }) => {
    const line = document.createElement(kind === "small" ? "small" : "span");
    line.className = kind ?? "";
    line.textContent = text;
    if (sender) line.append(" ", filterButton(sender));
    return line;
  }));
}

function filterButton(sender) {
  const button = document.createElement("button");
  Object.assign(button, { className: "link", textContent: "only this sender", type: "button" });
  button.addEventListener("click", () => {
    byId("filters").elements.sender.value = sender;
    restart();
  });
  return button;
}

function showCounts() {
  const done = counts.accepted + counts.dropped;
  const all = done + counts.waiting;
  byId("progress").value = all ? done / all : 0;
  write("progress-text", `${done} of ${all} reviewed`);
  byId("more").hidden = !after;
}

function showSelection() {
  const count = queue.selected.size;
  write("selected", count ? `${count} selected: the buttons decide about all of them` : "");
  byId("select-all").checked = count > 0 && count === queue.photos.length;
}

const chosen = () => (queue.selected.size ? queue.photos.filter(({ id }) => queue.selected.has(id)) : current ? [current] : []);

/** Decide about photos, at once on the page and then on the service, one request after the other. */
function decide(state, label, photos = chosen()) {
  if (!photos.length) return;
  const mine = generation;
  leave(photos);
  inTurn(async () => {
    write("message", "");
    const before = await attempt(() => api.decide(photos.map(({ id }) => ({ id, state, label }))));
    if (!before) return mine === generation ? putBack(photos) : undefined;
    history.push({ photos, before, mine });
    return count(before, () => state);
  });
}

/** Run one request after the other, so that the counts of a list and a decision made meanwhile don't mix. */
function inTurn(work) {
  working = working.then(work, work); // a failed one does not stop those after it
  return working;
}

function leave(photos) {
  const position = queue.photos.indexOf(current);
  queue.remove(photos.map(({ id }) => id));
  refill();
  if (photos.includes(current)) open(queue.photos[Math.min(position, queue.photos.length - 1)] ?? null);
}

function putBack(photos) {
  queue.restore(photos);
  open(queue.photos[0] ?? null);
}

/** Undo the last decision; the photos come back to the queue. */
function undo() {
  inTurn(async () => {
    write("message", "");
    const last = history.pop();
    if (!last) return;
    const before = await attempt(() => api.decide(last.before));
    if (!before) {
      history.push(last);
      return;
    }
    const states = new Map(last.before.map(({ id, state }) => [id, state]));
    count(before, (id) => states.get(id));
    if (last.mine === generation) putBack(last.photos.filter(({ id }) => states.has(id)));
    else restart(); // the filters may be others
  });
}

/** Count photos in their new states. */
function count(before, stateOf) {
  for (const { id, state } of before) {
    counts[state]--;
    counts[stateOf(id)]++;
  }
  showCounts();
}

function skip() {
  if (!current) return;
  const position = queue.photos.indexOf(current);
  queue.skip(current);
  open(queue.photos[Math.min(position, queue.photos.length - 1)]);
}

function toggleSelected() {
  if (!current) return;
  queue.select(current.id, !queue.selected.has(current.id));
  showSelection();
}

function useLabels({ positive_label: positive, negative_label: negative }) {
  labels = { positive, negative };
  const choice = byId("filters").elements.label;
  choice.replaceChildren(new Option("any", ""), ...[positive, negative].map((label) => new Option(labelText(label), label)));
  const taken = "SDUEX";
  const letters = [positive, negative].map((label) => label[0].toUpperCase());
  const areFree = letters[0] !== letters[1] && letters.every((letter) => /[A-Z]/.test(letter) && !taken.includes(letter));
  const [yes, no] = areFree ? letters : ["1", "2"];
  addButtons([
    [yes, labelText(positive), "yes", () => decide("accepted", positive)],
    [no, labelText(negative), "no", () => decide("accepted", negative)],
    ["S", "Skip", "other", skip],
    ["D", "Drop", "other", () => decide("dropped", null)],
    ["U", "Undo", "plain", undo],
    ["E", "Why?", "plain", () => { isHeatmapOn = !isHeatmapOn; showHeatmap(); }, "show-heatmap"],
  ]);
  actions.X = toggleSelected;
  write("keys", `${yes} ${labelText(positive)}, ${no} ${labelText(negative)}, S skip, D drop, U undo, E heatmap, X select, shift-click selects a range`);
}

function addButtons(all) {
  byId("buttons").replaceChildren(...all.map(([key, words, kind, act, id]) => {
    actions[key] = act;
    const button = document.createElement("button");
    Object.assign(button, { className: `button ${kind}`, type: "button", id: id ?? "" });
    const hint = document.createElement("kbd");
    hint.textContent = key;
    hint.ariaHidden = "true";
    button.append(words, hint);
    button.setAttribute("aria-keyshortcuts", key);
    button.addEventListener("click", act);
    return button;
  }));
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  api.setKey(byId("key").value);
  byId("key").value = "";
  restart();
});
byId("filters").addEventListener("change", restart);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("select-all").addEventListener("change", (event) => queue.selectAll(event.target.checked));
byId("more").addEventListener("click", () => refill(true));
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("select, input:not([type=checkbox])");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  actions[event.key.toUpperCase()]?.();
});
startSwipes(byId("view"), byId("swipe"), () => ({ right: labelText(labels.positive), left: labelText(labels.negative) }), (to) => {
  decide("accepted", to === "right" ? labels.positive : labels.negative, current ? [current] : []);
});
byId("filter-part").open = matchMedia("(min-width: 60rem)").matches; // a phone has no room for them
if (api.hasKey()) restart();
