// The worker behind `WorkerTranslator`: answers `{ id, method, parameters }` by parts and a result or an error.

import { Translator } from "./index.js";

let translator;

const methods = {
  async open(model, options) {
    translator = await Translator.open(model, options);
    const { card, instructionSet, beam, delegate } = translator;
    return { card, instructionSet, beam, delegate };
  },
  translate: (text, options) => translator.translate(text, options),
};

async function answer({ id, method, parameters }) {
  try {
    if (method === "translate") parameters[1].onText = (part) => postMessage({ id, part });
    postMessage({ id, result: await methods[method](...parameters) });
  } catch (error) {
    postMessage({ id, error: { kind: error.kind ?? "Internal", message: error.message } });
  }
}

let last = Promise.resolve();
onmessage = ({ data }) => {
  last = last.then(() => answer(data));
};
