// The service worker: keeps the page and the model for use without a network, and takes shared photos.

const SHELL = "seefood-shell";
const MODEL = "seefood-model";
const SHARED = "seefood-shared"; // as in offline.js
const SECONDS = 3; // after which a slow network counts as none
const ROOT = self.registration.scope;
const MODEL_JSON = new URL("web/model.json", ROOT).href;
const MODELS = new URL("web/models/", ROOT).pathname;
const RUNTIME = new URL("web/ort/", ROOT).pathname;

// The runtime of the worker is absent where no model is offered to phones.
const FILES = [
  "", "web/app.js", "web/camera.js", "web/classifier.js", "web/device.js", "web/dom.js", "web/failure.js", "web/grid.js", "web/heatmap.js",
  "web/icon.svg", "web/languages.js", "web/languages/en.json", "web/languages/es.json", "web/languages/pt-BR.json",
  "web/manifest.webmanifest", "web/memory.js", "web/offline.js", "web/page.css", "web/read.js", "web/report.js", "web/service.js",
  "web/settings.js", "web/shrink.js", "web/signals.js", "web/square.js", "web/stage.js", "web/verdict.js", "web/worker.js",
  "web/ort/ort.wasm.bundle.min.mjs",
].map((path) => new URL(path, ROOT).href);

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(Promise.all([keepShell(), describe(event, MODEL_JSON)]));
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const { href, searchParams, pathname } = new URL(request.url);
  if (request.method === "POST" && href === new URL("share", ROOT).href) return event.respondWith(share(request));
  if (request.method !== "GET" || !href.startsWith(ROOT)) return undefined;
  if (href === MODEL_JSON) return event.respondWith(describe(event, request));
  if ((searchParams.has("v") && pathname.startsWith(RUNTIME)) || pathname.startsWith(MODELS)) return event.respondWith(modelFile(event));
  const page = new URL(pathname, ROOT).href;
  return FILES.includes(page) ? event.respondWith(shellFile(event, page)) : undefined;
});

async function keepShell() {
  const cache = await caches.open(SHELL);
  for (const key of await cache.keys()) if (!FILES.includes(key.url)) await cache.delete(key);
  await Promise.allSettled(FILES.map((url) => cache.add(new Request(url, { cache: "no-cache" }))));
}

/**
 * Fetch from the network if that is quick and works, so that the page is current; else return what was kept.
 * "no-cache" asks the server each time: a static server may not say for how long its files are valid.
 */
async function current(request, kept) {
  const limit = kept ? { signal: AbortSignal.timeout(SECONDS * 1000) } : {};
  const response = await fetch(request, { cache: "no-cache", ...limit }).catch(() => null);
  const isDown = !response || response.status >= 500; // a proxy answers 502 for a service that is down
  return isDown && kept ? kept : (response ?? Response.error());
}

/** Keep a response without delaying it; there may be no room. */
function keep(event, cache, request, response) {
  event.waitUntil(cache.put(request, response.clone()).catch(() => {}));
}

/** Answer a file of the page. */
async function shellFile(event, url) {
  const cache = await caches.open(SHELL);
  const kept = await cache.match(url);
  const response = await current(event.request, kept);
  if (response.ok && response !== kept) keep(event, cache, url, response);
  return response;
}

/** Answer web/model.json. Files that it does not name any more are deleted. */
async function describe(event, request) {
  const cache = await caches.open(MODEL);
  const kept = await cache.match(request);
  const response = await current(request, kept);
  if (!response.ok || response === kept) return response;
  const described = await response.clone().json().catch(() => null);
  if (!described) return kept ?? response;
  const named = [MODEL_JSON, ...[described.url, described.wasm.url].map((each) => new URL(each, MODEL_JSON).href)];
  keep(event, cache, request, response);
  for (const key of await cache.keys()) if (!named.includes(key.url)) await cache.delete(key);
  return response;
}

/** Answer a file of the model; its address has the hash of its bytes, so a kept one is current. */
async function modelFile(event) {
  const cache = await caches.open(MODEL);
  const kept = await cache.match(event.request);
  if (kept) return kept;
  const response = await fetch(event.request);
  if (response.ok) keep(event, cache, event.request, response);
  return response;
}

/** Keep the photos that another app shares, and open the page, which takes them. */
async function share(request) {
  const photos = (await request.formData()).getAll("photos");
  const cache = await caches.open(SHARED);
  await Promise.all(photos.map((photo, index) => cache.put(`shared/${index}`, new Response(photo))));
  return Response.redirect(new URL("?shared", ROOT).href, 303);
}
