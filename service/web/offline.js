// Registers the service worker, and takes the photos that another app has shared with this page.

const SHARED = "seefood-shared"; // as in sw.js

const SECONDS = 5; // to wait for the service worker on the first visit

/**
 * Keep the page for use without a network; browsers allow it on HTTPS and on localhost only.
 * Resolves when the service worker takes the requests of this page, so that it keeps what is loaded from then on.
 */
export async function registerServiceWorker() {
  const workers = navigator.serviceWorker;
  const registration = await workers?.register("sw.js").catch(() => null);
  if (!registration || workers.controller) return;
  await Promise.race([
    new Promise((resolve) => workers.addEventListener("controllerchange", resolve, { once: true })),
    new Promise((resolve) => setTimeout(resolve, SECONDS * 1000)),
  ]);
}

/** Return the photos that were shared, once. */
export async function sharedPhotos() {
  if (!new URLSearchParams(location.search).has("shared") || !("caches" in window)) return [];
  history.replaceState(null, "", location.pathname);
  const cache = await caches.open(SHARED);
  const photos = [];
  for (const key of await cache.keys()) {
    photos.push(await (await cache.match(key)).blob());
    await cache.delete(key);
  }
  return photos;
}

/** Open another page of this service, which takes the photo by sharedPhotos; the photo stays on this device. */
export async function openWith(photo, address) {
  const cache = await caches.open(SHARED);
  await cache.put("shared/0", new Response(photo));
  location.assign(`${address}?shared`);
}
