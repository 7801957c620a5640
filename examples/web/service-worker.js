// Keeps the page and its models, so that it works without a network. With one, newer files win.

const CACHE = "siskin";
const FILES = [
  "./",
  "app.js",
  "icon.svg",
  "manifest.webmanifest",
  "style.css",
  "siskin/index.js",
  "siskin/siskin.wasm",
  "siskin/worker.js",
  "models/de-en.siskin",
  "models/en-de.siskin",
];

async function keepAll() {
  await (await caches.open(CACHE)).addAll(FILES);
  await skipWaiting();
}

async function answer(request) {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(request, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
}

addEventListener("install", (event) => event.waitUntil(keepAll()));
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answer(event.request));
});
