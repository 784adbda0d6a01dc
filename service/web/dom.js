export const byId = (id) => document.getElementById(id);

/** Write text into an element. A live region speaks whenever it is written to, so only changes are written. */
export function write(id, words) {
  if (byId(id).textContent !== words) byId(id).textContent = words;
}
