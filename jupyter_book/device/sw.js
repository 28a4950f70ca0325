// Lets the device page work without a network. What bears its digest (?sha=) never changes and is
// taken from the cache; everything else is asked for anew and taken from the cache if there is no
// answer.

const KEPT = "device";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && new URL(url).origin === location.origin) {
    event.respondWith(answer(event.request));
  }
});

async function answer(request) {
  const cache = await caches.open(KEPT);
  const kept = await cache.match(request);
  const lasting = new URL(request.url).searchParams.has("sha");
  if (lasting && kept) return kept;
  try {
    const fresh = await fetch(request);
    if (fresh.status === 200) await replace(cache, request, fresh.clone());
    return fresh;
  } catch (error) {
    if (kept) return kept;
    throw error;
  }
}

// One version of each file is enough.
async function replace(cache, request, fresh) {
  for (const old of await cache.keys(request, { ignoreSearch: true })) {
    if (old.url !== request.url) await cache.delete(old);
  }
  await cache.put(request, fresh);
}
