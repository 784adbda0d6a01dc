// Registers the service worker, and takes the photos that another app has shared with this page.

const SHARED = "seefood-shared"; // as in sw.js

/** Keep the page for use without a network; browsers allow it on HTTPS and on localhost only. */
export function registerServiceWorker() {
  navigator.serviceWorker?.register("sw.js").catch(() => {});
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
