// What this browser remembers of a person. Where storage is blocked or full, it lasts until the page is closed.

const PREFIX = "seefood-";
const kept = {};

/** @param storage sessionStorage for what lasts until the tab is closed */
export function recall(name, storage = "localStorage") {
  try {
    return kept[name] ?? window[storage].getItem(PREFIX + name);
  } catch {
    return null;
  }
}

export function remember(name, value, storage = "localStorage") {
  kept[name] = value;
  try {
    window[storage].setItem(PREFIX + name, value);
  } catch {} // the value is kept
}
