// The npm package's files under Node.js: `node --test bindings/web/test/siskin.test.mjs`, after `bindings/web/build.sh`.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

import { SiskinError, Translator } from "../index.js";
import { build, modelPath, translate } from "./native.mjs";

const wasm = await WebAssembly.compile(await readFile(new URL("../siskin.wasm", import.meta.url)));
const open = async (name) => Translator.open(await readFile(modelPath(name)), { wasm });

const SENTENCES = ["Where is the station?", "I like tea. Do you?", "We'll meet at half past seven.", "He didn't say a word.", "x"];
const TEXTS = {
  "en-de": SENTENCES,
  "de-en": ["Wo ist der Bahnhof?", "Ich mag Tee. Und du?", "Er hat kein Wort gesagt.", "Schöne Grüße!"],
  "g2p-en": ["siskin", "lapwing", "knowledge", "antidisestablishmentarianism"],
  title: [`We show that ${SENTENCES.join(" ")}`],
};

for (const [name, texts] of Object.entries(TEXTS)) {
  test(`${name}: tokens, texts and the bits of scores are the native ones`, async () => {
    const translator = await open(name);
    assert.equal(translator.instructionSet, "wasm-simd128");
    for (const beam of [1, 4]) {
      const expected = translate(build("dev"), name, texts, "--beam", beam, "--n-best", beam);
      for (const [i, text] of texts.entries()) {
        const { alternatives } = translator.translate(text, { beam, alternatives: beam });
        const native = expected[i].n_best.map((best, rank) => ({
          text: best.text,
          score: Math.fround(best.score),
          tokens: expected[i].segments.flatMap(({ hypotheses }) => (hypotheses[rank] ?? hypotheses.at(-1)).token_ids),
        }));
        assert.deepEqual(alternatives, native);
      }
    }
  });
}

test("the parts of a stream are the text, and false cancels the rest", async () => {
  const translator = await open("en-de");
  const parts = [];
  const { text } = translator.translate(SENTENCES[0], { beam: 1, onText: (part) => parts.push(part) });
  assert.equal(parts.join(""), text);
  assert.ok(parts.length > 2);
  const cancelled = { onText: () => false };
  assert.throws(() => translator.translate(SENTENCES[0], cancelled), { name: "SiskinError", kind: "Cancelled" });
  const nested = { onText: () => translator.translate("x") };
  assert.throws(() => translator.translate(SENTENCES[0], nested), { kind: "InvalidOption" });
  assert.equal(translator.translate(SENTENCES[0]).text, text);
});

test("without WebGPU the delegate gpu is an error that says what is missing", async () => {
  const model = await readFile(modelPath("en-de"));
  const forGpu = await readFile(new URL("../siskin-gpu.wasm", import.meta.url));
  const opened = Translator.open(model, { wasm: forGpu, delegate: "gpu" });
  await assert.rejects(opened, { name: "SiskinError", kind: "Delegate", message: /WebGPU/ });
  const unknown = Translator.open(model, { wasm, delegate: "abacus" });
  await assert.rejects(unknown, { kind: "InvalidOption", message: /abacus/ });
});

test("options hold for one call", async () => {
  const translator = await open("en-de");
  const asked = translator.translate(SENTENCES[1]);
  assert.equal(translator.translate(SENTENCES[1], { maxTokens: 2 }).tokens.length, 2);
  const sentences = translator.translate(SENTENCES[1], { unit: "sentence" });
  assert.notDeepEqual(sentences.tokens, asked.tokens);
  assert.deepEqual(translator.translate(SENTENCES[1]).tokens, asked.tokens);
});

test("blank texts and lone surrogates are answered", async () => {
  const translator = await open("en-de");
  assert.equal(translator.translate("").text, "");
  assert.deepEqual(translator.translate(" \n").alternatives, []);
  assert.equal(translator.translate(" \n").text, " \n");
  assert.equal(typeof translator.translate("\ud800 tea").text, "string");
});

test("bad input is refused by kind, and the translator lives on", async () => {
  const translator = await open("g2p-en");
  const refused = (text, options, kind) =>
    assert.throws(() => translator.translate(text, options), (error) => error instanceof SiskinError && error.kind === kind);
  refused("siskin", { beam: 17 }, "InvalidOption");
  refused("siskin", { beam: 1, alternatives: 2 }, "InvalidOption");
  refused("a".repeat(100), {}, "InputTooLong");
  assert.equal(translator.translate("siskin").text, "S IH1 S K IH0 N");
});

test("bad files are refused", async () => {
  const model = await readFile(modelPath("g2p-en"));
  const refused = (bytes, kind) => assert.rejects(Translator.open(bytes, { wasm }), { name: "SiskinError", kind });
  await refused(new Uint8Array(), "NotAModel");
  await refused(new Uint8Array(1000), "NotAModel");
  await refused(model.subarray(0, 5000), "Corrupt");
  const damaged = Uint8Array.from(model);
  damaged[500_000] ^= 1;
  await refused(damaged, "Corrupt");
});
