// The queue of photos: cells with a checkbox, whose photos are loaded when they come into view and freed when they leave.

import { photo as load } from "./api.js";
import { summary } from "./words.js";

export class Queue {
  /**
   * @param list the element that shows the queue
   * @param open called with a photo when its cell is chosen
   * @param changed called when the selection changes
   */
  constructor(list, open, changed) {
    Object.assign(this, { list, open, changed, photos: [], cells: new Map(), selected: new Set(), last: null });
    this.watcher = new IntersectionObserver((entries) => entries.forEach((entry) => this.show(entry)), { rootMargin: "300px" });
  }

  clear() {
    this.watcher.disconnect();
    this.photos = [];
    this.cells.clear();
    this.selected.clear();
    this.list.replaceChildren();
  }

  add(photos) {
    const fresh = photos.filter(({ id }) => !this.cells.has(id));
    this.photos.push(...fresh);
    this.list.append(...fresh.map((photo) => this.cell(photo)));
  }

  /** Take photos out; they were decided. */
  remove(ids) {
    const gone = new Set(ids);
    this.photos = this.photos.filter(({ id }) => !gone.has(id));
    for (const id of gone) {
      const cell = this.cells.get(id);
      if (cell) this.watcher.unobserve(cell);
      cell?.remove();
      this.cells.delete(id);
      this.selected.delete(id);
    }
    this.changed();
  }

  /** Put photos back in front; a decision was undone. */
  restore(photos) {
    const fresh = photos.filter(({ id }) => !this.cells.has(id));
    this.photos.unshift(...fresh);
    this.list.prepend(...fresh.map((photo) => this.cell(photo)));
  }

  /** Move a photo to the end; it was skipped. */
  skip(photo) {
    this.photos = [...this.photos.filter((each) => each !== photo), photo];
    this.list.append(this.cells.get(photo.id));
  }

  mark(photo) {
    this.list.querySelector('[aria-current="true"]')?.removeAttribute("aria-current");
    this.cells.get(photo?.id)?.setAttribute("aria-current", "true");
  }

  selectAll(isOn) {
    for (const { id } of this.photos) this.select(id, isOn);
    this.changed();
  }

  select(id, isOn) {
    this.cells.get(id).querySelector("input").checked = isOn;
    if (isOn) this.selected.add(id);
    else this.selected.delete(id);
  }

  cell(photo) {
    const cell = document.createElement("li");
    const button = document.createElement("button");
    const image = new Image();
    const words = document.createElement("span");
    const box = document.createElement("input");
    image.alt = `Photo ${photo.id}`;
    words.textContent = summary(photo);
    Object.assign(box, { type: "checkbox", ariaLabel: `Select photo ${photo.id}` });
    box.addEventListener("click", (event) => this.choose(photo.id, box.checked, event.shiftKey));
    button.append(image, words);
    button.addEventListener("click", () => this.open(photo));
    cell.append(button, box);
    cell.dataset.id = photo.id;
    this.cells.set(photo.id, cell);
    this.watcher.observe(cell);
    return cell;
  }

  /** Select one photo, or with the shift key all from the last one to it. */
  choose(id, isOn, isRange) {
    const ids = this.photos.map((photo) => photo.id);
    const [from, to] = [ids.indexOf(isRange ? this.last : id), ids.indexOf(id)].sort((a, b) => a - b);
    for (const each of from < 0 ? [id] : ids.slice(from, to + 1)) this.select(each, isOn);
    this.last = id;
    this.changed();
  }

  async show({ target, isIntersecting }) {
    const image = target.querySelector("img");
    if (!isIntersecting) return image.removeAttribute("src");
    try {
      image.src = await load(Number(target.dataset.id));
    } catch {
      image.alt = `Photo ${target.dataset.id} is not there any more`;
    }
    return undefined;
  }
}
