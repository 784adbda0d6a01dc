// The requests of the review page. The key is in a header and in the storage of this tab, never in a cookie.

import { recall, remember } from "../memory.js";

const SECONDS = 30;
const PHOTOS = 80; // photos kept in memory

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

const key = () => recall("review-key", "sessionStorage");
export const hasKey = () => Boolean(key());
export const setKey = (value) => remember("review-key", value, "sessionStorage");
export const forgetKey = () => setKey("");

async function send(path, options = {}) {
  const headers = { ...options.headers, Authorization: `Bearer ${key() ?? ""}` };
  let response;
  try {
    response = await fetch(`review/${path}`, { ...options, headers, cache: "no-store", signal: AbortSignal.timeout(SECONDS * 1000) });
  } catch {
    throw new Refused(0, "The service does not answer; try again.");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Refused(response.status, problem.detail ?? `The service answered with status ${response.status}.`);
}

/** Return a page of photos: {photos, counts, after, inbox, drift, positive_label, negative_label}. */
export async function list(filters, after) {
  const query = new URLSearchParams(Object.entries(filters).filter(([, value]) => value));
  if (after) query.set("after", after);
  return (await send(`photos?${query}`)).json();
}

/** Record decisions, [{id, state, label}]; return what was decided before, in the same form. */
export async function decide(decisions) {
  const body = JSON.stringify({ decisions });
  return (await (await send("decisions", { method: "POST", body, headers: { "Content-Type": "application/json" } })).json()).before;
}

export const heatmap = async (id) => (await send(`photos/${id}/heatmap`)).json();

const photos = new Map(); // id -> promise of a blob: URL, the most recently used last

/** Return a blob: URL of a photo; the longest unused ones are freed. */
export function photo(id) {
  const found = photos.get(id) ?? send(`photos/${id}`).then(async (response) => URL.createObjectURL(await response.blob()));
  photos.delete(id);
  photos.set(id, found);
  found.catch(() => photos.delete(id));
  if (photos.size > PHOTOS) {
    const [oldest, url] = photos.entries().next().value;
    photos.delete(oldest);
    url.then((freed) => URL.revokeObjectURL(freed), () => {});
  }
  return found;
}
