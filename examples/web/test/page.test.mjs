// The page in a headless Chromium: `node --test examples/web/test/page.test.mjs`, after `examples/web/build.sh`.

import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import test, { after, before } from "node:test";

import { build, modelPath, root, translate } from "../../../bindings/web/test/native.mjs";
import { Chromium } from "./chromium.mjs";
import { serve } from "./site.mjs";

const READY = "document.querySelector('#status').textContent.endsWith('is ready.')";
const TARGET = "document.querySelector('#target').textContent";
const DONE = "document.querySelector('#target').ariaBusy === 'false'";
const pictures = `${root}/target/pictures`;

let site, browser, native;

before(async () => {
  native = build("dev");
  site = await serve();
  browser = await Chromium.open(site.url);
  await browser.until(READY);
});

after(async () => {
  await browser?.close();
  await site?.close();
});

const expected = (model, text, ...options) => translate(native, model, [text], "--unit", "sentence", ...options)[0];

/** Chooses from a list as a user does, as far as the page can tell. */
const choose = (list, value) =>
  browser.evaluate(`{
    const list = document.querySelector("#${list}");
    list.value = "${value}";
    list.dispatchEvent(new Event("change", { bubbles: true }));
  }`);

async function typeAnew(text) {
  await browser.evaluate("document.querySelector('#source').focus(); document.querySelector('#source').select()");
  await browser.type(text);
}

async function shows(text) {
  await browser.until(`${DONE} && ${TARGET} === ${JSON.stringify(text)}`);
}

test("what is typed is translated as the native command does", async () => {
  const text = "Good morning! Where is the station?";
  const { n_best } = expected("en-de", text, "--beam", 4, "--n-best", 4);
  await typeAnew(text);
  await shows(n_best[0].text);
  const others = await browser.evaluate("[...document.querySelectorAll('#alternatives li')].map((li) => li.textContent)");
  assert.deepEqual(others, n_best.slice(1).map(({ text }) => text));
  assert.match(await browser.evaluate("document.querySelector('#speed').textContent"), /^\d+ tokens\/s$/);
  assert.equal(await browser.evaluate("document.querySelector('#kernels').textContent"), "wasm-simd128");
  mkdirSync(pictures, { recursive: true });
  writeFileSync(`${pictures}/page.png`, await browser.screenshot(1000, 720));
  writeFileSync(`${pictures}/phone.png`, await browser.screenshot(360, 740));
  const overflow = await browser.evaluate("document.documentElement.scrollWidth - innerWidth");
  assert.ok(overflow <= 0, "the page is wider than a phone");
});

test("beams are chosen, and tokens stream", async () => {
  await browser.evaluate(`{
    window.grown = [];
    const target = document.querySelector("#target");
    new MutationObserver(() => grown.push(target.textContent)).observe(target, { childList: true });
  }`);
  await choose("beam", 1);
  const text = "He didn't say a word to his father about it.";
  await typeAnew(text);
  const best = expected("en-de", text, "--beam", 1).text;
  await shows(best);
  assert.equal(await browser.evaluate("document.querySelector('#others').hidden"), true);
  const grown = new Set((await browser.evaluate("grown")).filter((part) => part !== "" && best.startsWith(part)));
  assert.ok(grown.size > 3, `${[...grown]}`);
});

test("other models are chosen and opened as files", async () => {
  await choose("models", "de-en");
  const text = "Wo ist der Bahnhof?";
  await typeAnew(text);
  await shows(expected("de-en", text, "--beam", 1).text);

  const { root: document } = await browser.send("DOM.getDocument");
  const { nodeId } = await browser.send("DOM.querySelector", { nodeId: document.nodeId, selector: "#file" });
  await browser.send("DOM.setFileInputFiles", { nodeId, files: [modelPath("g2p-en")] });
  await typeAnew("siskin");
  await shows("S IH1 S K IH0 N");

  await browser.send("DOM.setFileInputFiles", { nodeId, files: [`${root}/README.md`] });
  await browser.until("document.querySelector('#status.error')?.textContent.includes('not a Siskin model')");
  await choose("models", "en-de");
  await browser.until(READY);
});

test("a dropped file is opened", async () => {
  const data = { items: [], files: [modelPath("g2p-en")], dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "drop"]) {
    await browser.send("Input.dispatchDragEvent", { type, x: 100, y: 100, data });
  }
  await browser.until(`document.querySelector('#status').textContent === 'g2p-en.siskin is ready.'`);
  await typeAnew("lapwing");
  await shows("L AE1 P W IH0 NG");
  await choose("models", "en-de");
  await browser.until(READY);
});

test("a worker's requests are answered in order, by errors too, until it is closed", async () => {
  const use = async () => {
    const { WorkerTranslator } = await import("./siskin/index.js");
    const kind = (promise) => promise.then(() => "none", (error) => error.kind);
    const translator = await WorkerTranslator.open("models/en-de.siskin");
    const parts = [];
    const [first, refused, last] = await Promise.all([
      translator.translate("I like tea.", { beam: 1, onText: (part) => parts.push(part) }),
      kind(translator.translate("I like tea.", { beam: 99 })),
      translator.translate("I like tea."),
    ]);
    const running = kind(translator.translate("I like tea. ".repeat(1000), { unit: "sentence" }));
    translator.close();
    return {
      streamed: parts.join("") === first.text,
      texts: [first.text, last.text],
      kinds: [refused, await running, await kind(WorkerTranslator.open("models/none.siskin"))],
    };
  };
  const found = await browser.evaluate(`(${use})()`);
  const texts = [1, 4].map((beam) => expected("en-de", "I like tea.", "--beam", beam).text);
  assert.deepEqual(found, { streamed: true, texts, kinds: ["InvalidOption", "Cancelled", "Io"] });
});

test("every control is reached by Tab and has a name", async () => {
  await browser.evaluate("document.querySelector('#models').focus()");
  for (const next of ["beam", "file", "source"]) {
    await browser.press("Tab", 9);
    assert.equal(await browser.evaluate("document.activeElement.id"), next);
  }
  const { nodes } = await browser.send("Accessibility.getFullAXTree");
  const named = nodes.filter(({ ignored }) => !ignored).map(({ role, name }) => `${role?.value}: ${name?.value}`);
  for (const control of ["combobox: Model", "combobox: Beams", "textbox: Text", "status: Translation", "button: Open a model file"]) {
    assert.ok(named.some((node) => node.startsWith(control)), `${control} is not among ${named}`);
  }
});

test("without a network the page opens and translates", async () => {
  await browser.until("document.querySelector('#offline').textContent === 'Ready to work offline.'");
  await site.close();
  await assert.rejects(fetch(site.url));
  await browser.goTo(`${site.url}?offline`);
  await browser.until(READY);
  const text = "The train is late.";
  await typeAnew(text);
  await shows(expected("en-de", text).text);
});
