// Choices that this browser remembers. Where storage is blocked, they last until the page is closed.

const PREFIX = "seefood-";
const unsaved = {};

export function recall(name) {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return unsaved[name] ?? null;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(PREFIX + name, value);
  } catch {
    unsaved[name] = value;
  }
}
