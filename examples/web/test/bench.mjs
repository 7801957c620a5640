// Tokens a second in Chromium and of the native command, on this machine: `node examples/web/test/bench.mjs`, after
// `examples/web/build.sh`. Sentences one by one, one thread; the fastest of the rounds, as other programs only slow one.

import { execFileSync } from "node:child_process";
import { writeFile } from "node:fs/promises";

import { build, modelPath, root } from "../../../bindings/web/test/native.mjs";
import { Chromium } from "./chromium.mjs";
import { serve } from "./site.mjs";

const ROUNDS = 30;
const MODEL = "en-de";
const SENTENCES = `Where is the station?
I like tea. Do you?
We'll meet at half past seven in front of the school.
He didn't say a word to his father about it.
The train is late because of the snow.
Could you tell me how to get to the nearest hospital?
My sister has lived in London for three years.
If it rains tomorrow, we will stay at home.`;

/** Runs in the page. */
async function measure(model, sentences, beam, rounds) {
  const { WorkerTranslator } = await import("./siskin/index.js");
  const translator = await WorkerTranslator.open(model);
  const speeds = [];
  for (let round = -1; round < rounds; round++) {
    let [tokens, milliseconds] = [0, 0];
    for (const sentence of sentences) {
      const translation = await translator.translate(sentence, { beam });
      tokens += translation.tokens.length;
      milliseconds += translation.milliseconds;
    }
    // The first round compiles and warms up.
    if (round >= 0) speeds.push((1000 * tokens) / milliseconds);
  }
  translator.close();
  return Math.max(...speeds);
}

function native(program, input, beam, isa) {
  const command = ["bench", "-m", modelPath(MODEL), "--input", input, "--beam", beam, "--rounds", ROUNDS, "--json"];
  const env = isa ? { ...process.env, SISKIN_ISA: isa } : process.env;
  const found = JSON.parse(execFileSync(program, command, { env, encoding: "utf8" }));
  return { isa: found.isa, speed: found.tokens_per_second.fastest };
}

const input = `${root}/target/bench-sentences.txt`;
await writeFile(input, `${SENTENCES}\n`);
const program = build("release");
const site = await serve();
const browser = await Chromium.open(site.url);
await browser.until("document.readyState === 'complete'");

for (const beam of [1, 4]) {
  const call = `(${measure})("models/${MODEL}.siskin", ${JSON.stringify(SENTENCES.split("\n"))}, ${beam}, ${ROUNDS})`;
  const speeds = [{ isa: "wasm-simd128 in Chromium", speed: await browser.evaluate(call) }];
  for (const isa of [undefined, "avx2", "portable"]) speeds.push(native(program, input, beam, isa));
  for (const { isa, speed } of speeds) console.log(`beam ${beam}  ${Math.round(speed).toString().padStart(6)} tokens/s  ${isa}`);
}
await browser.close();
await site.close();
