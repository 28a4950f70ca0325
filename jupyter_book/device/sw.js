// Lets the device page work without a network. What bears its digest (?sha=) never changes and is
// taken from the cache; everything else is asked for anew and taken from the cache if there is no
// answer.

const KEPT = "device";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && new URL(url).origin === location.origin) {
    event.respondWith(answer(event));
  }
});

async function answer(event) {
  const { request } = event;
  const cache = await caches.open(KEPT);
  const kept = await cache.match(request);
  const lasting = new URL(request.url).searchParams.has("sha");
  if (lasting && kept) return kept;
  let fresh;
  try {
    fresh = await fetch(request);
  } catch (error) {
    if (kept) return kept;
    throw error;
  }
  // It is stored while the page reads it; a full storage takes nothing from the page.
  if (fresh.status === 200) event.waitUntil(replace(cache, request, fresh.clone()).catch(() => {}));
  return fresh;
}

// One version of each file is enough.
async function replace(cache, request, fresh) {
  for (const old of await cache.keys(request, { ignoreSearch: true })) {
    if (old.url !== request.url) await cache.delete(old);
  }
  await cache.put(request, fresh);
}
