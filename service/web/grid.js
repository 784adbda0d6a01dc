// Several photos at once: a grid of verdicts. A cell opens its photo.

import { text } from "./languages.js";

/**
 * Fill a list with one cell for each result, as far as there are answers; a result has a photo and, later, a verdict.
 * @param open called with a result when its cell is chosen
 */
export function fillGrid(list, results, open) {
  for (const image of list.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  list.replaceChildren(...results.map((result) => {
    const cell = document.createElement("li");
    const button = document.createElement("button");
    const image = new Image();
    image.alt = result.photo.name ?? "";
    image.src = URL.createObjectURL(result.photo);
    button.append(image, document.createElement("span"));
    button.addEventListener("click", () => open(result));
    cell.append(button);
    return cell;
  }));
  results.forEach((result, index) => fillCell(list, index, result.verdict));
}

/** Show the verdict of one cell; without one, the photo waits. */
export function fillCell(list, index, verdict) {
  const button = list.children[index].firstChild;
  button.className = verdict?.kind ?? "busy";
  button.disabled = !verdict;
  button.lastChild.textContent = verdict?.title ?? text("busy");
}
