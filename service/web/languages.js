// The texts of the page, one file for each language in languages/.

import { recall, remember } from "./memory.js";

const NAMES = { en: "English", "pt-BR": "Português", es: "Español" };
let folders;
let texts = {};
export let language = "en";

/**
 * Show the page in the remembered language, else in the browser's first one that is known, and wire the switch.
 * @param more a folder with more texts
 */
export async function startLanguages(select, changed, ...more) {
  folders = ["web/languages", ...more];
  select.replaceChildren(...Object.entries(NAMES).map(([code, name]) => Object.assign(new Option(name, code), { lang: code })));
  await use(recall("language") ?? preferred());
  select.value = language;
  select.addEventListener("change", async () => {
    remember("language", select.value);
    await use(select.value);
    changed();
  });
}

/** Return a text; {name} in it is replaced by values.name. */
export function text(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** Return a label of the model as people write it. */
export function labelText(label) {
  const words = label.replaceAll("_", " ");
  return texts[`label.${label}`] ?? words[0].toUpperCase() + words.slice(1);
}

const format = (value, options) => new Intl.NumberFormat(language, options).format(value);
export const percent = (share) => format(share, { style: "percent" });
export const megabytes = (bytes) => format(bytes / 1e6, { maximumFractionDigits: 1 });
export const kilobytes = (bytes) => format(bytes / 1e3, { maximumFractionDigits: 0 });

function preferred() {
  for (const wanted of navigator.languages) {
    const found = Object.keys(NAMES).find((code) => code.split("-")[0] === wanted.split("-")[0]);
    if (found) return found;
  }
  return "en";
}

async function use(code) {
  const mine = (language = code in NAMES ? code : "en");
  const loaded = await Promise.all(folders.map((folder) => load(`${folder}/${mine}.json`)));
  if (mine !== language) return; // another one was chosen meanwhile
  texts = Object.assign({}, ...loaded);
  document.documentElement.lang = language;
  const write = (kind, property) => document.querySelectorAll(`[data-${kind}]`).forEach((element) => (element[property] = text(element.dataset[kind])));
  write("text", "textContent");
  write("label", "ariaLabel");
  write("alt", "alt");
}

/** Load a file; where that fails, try again every second: the page needs its texts. */
function load(path) {
  const again = () => new Promise((done) => setTimeout(() => done(load(path)), 1000));
  return fetch(path).then((response) => response.json()).catch(again);
}
