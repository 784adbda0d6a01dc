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
  select.replaceChildren(...Object.entries(NAMES).map(([code, name]) => new Option(name, code)));
  for (const option of select.options) option.lang = option.value;
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

export const percent = (share) => new Intl.NumberFormat(language, { style: "percent" }).format(share);
export const number = (value) => new Intl.NumberFormat(language, { maximumSignificantDigits: 3 }).format(value);
export const megabytes = (bytes) => new Intl.NumberFormat(language, { maximumFractionDigits: 1 }).format(bytes / 1e6);
export const kilobytes = (bytes) => new Intl.NumberFormat(language, { maximumFractionDigits: 0 }).format(bytes / 1e3);

function preferred() {
  for (const wanted of navigator.languages) {
    const found = Object.keys(NAMES).find((code) => code.split("-")[0] === wanted.split("-")[0]);
    if (found) return found;
  }
  return "en";
}

async function use(code) {
  language = code in NAMES ? code : "en";
  const files = folders.map(async (folder) => (await fetch(`${folder}/${language}.json`)).json());
  texts = Object.assign({}, ...(await Promise.all(files)));
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", text(element.dataset.label));
  for (const element of document.querySelectorAll("[data-alt]")) element.alt = text(element.dataset.alt);
}
