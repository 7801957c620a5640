// The delegate `gpu` in a headless Chromium, whose GPU is a software rasterizer: `node --test examples/web/test/gpu.test.mjs`,
// after `examples/web/build.sh`.

import assert from "node:assert/strict";
import test from "node:test";

import { build, translate } from "../../../bindings/web/test/native.mjs";
import { Chromium } from "./chromium.mjs";
import { serve } from "./site.mjs";

const SWIFTSHADER = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];
const TEXTS = ["Where is the station?", "A man in a yellow shirt is riding a bicycle."];

/** D and V of `en-de`. */
const [WIDTH, VOCABULARY] = [192, 4000];

/** Runs `use` in a page of a browser with these flags. */
async function inPage(flags, use, ...parameters) {
  const site = await serve();
  const browser = await Chromium.open(site.url, flags);
  try {
    await browser.until("document.readyState === 'complete'");
    return await browser.evaluate(`(${use})(...${JSON.stringify(parameters)})`);
  } finally {
    await browser.close();
    await site.close();
  }
}

test("the texts of a GPU are those of the CPU, and a step copies the same bytes whatever was written", async () => {
  const use = async (texts) => {
    const { Translator, WorkerTranslator } = await import("./siskin/index.js");
    const found = {};
    for (const [beam, kind] of [[1, WorkerTranslator], [4, Translator]]) {
      const translator = await kind.open("models/en-de.siskin", { delegate: "gpu" });
      found[beam] = { delegate: translator.delegate, translations: [] };
      for (const text of texts) {
        const parts = [];
        const { text: whole, placement } = await translator.translate(text, { beam, onText: (part) => parts.push(part) });
        found[beam].translations.push({ text: whole, streamed: parts.join("") === whole, placement });
      }
      const running = translator.translate(texts[0], { beam });
      const refused = translator.translate(texts[0], { beam: kind === Translator ? beam : 99 });
      found[beam].refused = await refused.catch(({ kind }) => kind);
      found[beam].last = (await running).text;
    }
    return found;
  };
  const found = await inPage(SWIFTSHADER, use, TEXTS);
  for (const beam of [1, 4]) {
    const { delegate, translations, refused, last } = found[beam];
    const expected = translate(build("dev"), "en-de", TEXTS, "--beam", beam).map(({ text }) => text);
    assert.deepEqual(translations.map(({ text }) => text), expected);
    assert.ok(translations.every(({ streamed }) => streamed));
    assert.deepEqual([delegate, refused, last], ["gpu", "InvalidOption", expected[0]]);
    const [first] = translations;
    console.log(`beam ${beam}: ${first.placement}`);
    assert.match(first.placement, /swiftshader \(WebGPU, a software rasterizer\)/);
    for (const { placement } of translations) {
      const [, there, back] = placement.match(/copies (\d+) bytes there and (\d+) back/).map(Number);
      const rows = back / (4 * VOCABULARY);
      assert.ok(Number.isInteger(rows) && rows >= 1 && rows <= beam, placement);
      // Of a row its embedding, parent and span; and what describes the step.
      assert.equal(there, rows * (4 * WIDTH + 4 + 8) + 16, placement);
    }
  }
});

test("a browser without an adapter, or without promises for modules, says so and goes on with the CPU", async () => {
  const use = async (text, forget) => {
    const { Translator } = await import("./siskin/index.js");
    for (const name of forget) delete WebAssembly[name];
    const open = (delegate) => Translator.open("models/en-de.siskin", { delegate });
    const { kind, message } = await open("gpu").catch((error) => error);
    const translation = (await open("cpu")).translate(text, { beam: 1 });
    return { kind, message, text: translation.text, placement: translation.placement };
  };
  const [{ text }] = translate(build("dev"), "en-de", TEXTS.slice(0, 1), "--beam", 1);
  for (const [flags, forget] of [[[], []], [SWIFTSHADER, ["Suspending", "promising"]]]) {
    const found = await inPage(flags, use, TEXTS[0], forget);
    assert.equal(found.kind, "Delegate");
    assert.match(found.message, /no GPU: this browser has no WebGPU, no adapter for it, or cannot let a module wait/);
    assert.deepEqual([found.text, found.placement], [text, undefined]);
  }
});
