// Siskin in a browser, a worker or Node.js; `index.d.ts` describes what is exported.

export class SiskinError extends Error {
  constructor(kind, message) {
    super(message);
    this.name = "SiskinError";
    this.kind = kind;
  }
}

const CARD = ["name", "task", "languages", "description", "licence", "attribution"];
const UNITS = ["line", "sentence"];
/** The module with each delegate. */
const MODULES = {
  cpu: new URL("./siskin.wasm", import.meta.url),
  gpu: new URL("./siskin-gpu.wasm", import.meta.url),
};

/** The bytes of a URL, a `Blob` or a buffer. */
async function bytesOf(source) {
  if (typeof source === "string" || source instanceof URL) {
    const response = await fetch(source);
    if (!response.ok) throw new SiskinError("Io", `cannot fetch ${source}: status ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  }
  if (source instanceof Blob) return new Uint8Array(await source.arrayBuffer());
  return ArrayBuffer.isView(source)
    ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
    : new Uint8Array(source);
}

/** Runs a model in the thread that calls it: in a page, take `WorkerTranslator`. */
export class Translator {
  #wasm;
  #onText;
  #thrown;
  #busy = false;
  #defect = null;

  static async open(model, { delegate = "cpu", wasm = MODULES[delegate] } = {}) {
    if (!(delegate in MODULES)) throw new SiskinError("InvalidOption", `there is no delegate ${delegate}`);
    const translator = new Translator();
    translator.delegate = delegate;
    await translator.#open(model, wasm);
    return translator;
  }

  async #open(model, wasm) {
    const module = wasm instanceof WebAssembly.Module ? wasm : await WebAssembly.compile(await bytesOf(wasm));
    const on_text = (start, length) => this.#hearText(start, length);
    const functions = { siskin: { on_text } };
    if (this.delegate === "gpu") {
      const { gpuFunctions } = await import("./gpu.js");
      functions.siskin_gpu = gpuFunctions(() => this.#wasm.memory.buffer);
    }
    this.#wasm = (await WebAssembly.instantiate(module, functions)).exports;
    const bytes = await bytesOf(model);
    const start = this.#wasm.model_room(bytes.length);
    if (start === 0) throw new SiskinError("MemoryLimit", `no memory for a model of ${bytes.length} bytes`);
    new Uint8Array(this.#wasm.memory.buffer, start, bytes.length).set(bytes);
    this.#call("open");
    if (this.delegate === "gpu") await this.#wait("use_gpu");
    this.card = Object.fromEntries(CARD.map((key) => [key, this.#cardEntry(key)]).filter(([, entry]) => entry));
    this.instructionSet = this.#text("instruction_set");
    this.beam = this.#call("beam");
  }

  /** Bytes of the module's memory: the model, working memory and all else. It never shrinks. */
  get memory() {
    return this.#wasm.memory.buffer.byteLength;
  }

  translate(text, options = {}) {
    return this.delegate === "gpu" ? this.#translateWaiting(text, options) : this.#translateAtOnce(text, options);
  }

  #translateAtOnce(text, options) {
    const started = this.#begin();
    try {
      this.#prepare(text, options);
      return this.#found(this.#call("translate"), started);
    } catch (error) {
      throw this.#thrown ? this.#thrown.error : error;
    } finally {
      this.#busy = false;
    }
  }

  /** The same where the module waits for a GPU. */
  async #translateWaiting(text, options) {
    const started = this.#begin();
    try {
      this.#prepare(text, options);
      const found = this.#found(await this.#wait("translate"), started);
      return { ...found, placement: this.#text("placement") };
    } catch (error) {
      throw this.#thrown ? this.#thrown.error : error;
    } finally {
      this.#busy = false;
    }
  }

  #begin() {
    if (this.#busy) throw new SiskinError("InvalidOption", "the translator is busy: it answers one request after the other");
    this.#busy = true;
    this.#thrown = null;
    return performance.now();
  }

  #prepare(text, { beam = 0, alternatives = 0, maxTokens = 0, unit, onText }) {
    this.#onText = onText;
    this.#call("configure", beam, alternatives, maxTokens, UNITS.indexOf(unit) + 1);
    this.#put(text);
  }

  #found(count, started) {
    const milliseconds = performance.now() - started;
    const ranked = Array.from({ length: count }, (_, rank) => this.#alternative(rank));
    const best = ranked[0] ?? { text: this.#text("text", 0), score: 0, tokens: [] };
    return { ...best, alternatives: ranked, milliseconds, memory: this.memory };
  }

  #alternative(rank) {
    const bytes = this.#bytes(this.#call("tokens", rank)).slice();
    const tokens = Array.from(new Uint32Array(bytes.buffer));
    return { text: this.#text("text", rank), score: this.#wasm.score(rank), tokens };
  }

  #cardEntry(key) {
    this.#put(key);
    return this.#text("card");
  }

  /** Hands a part on. What `onText` throws must not fly through the module: it cancels, and is thrown afterwards. */
  #hearText(start, length) {
    const part = new TextDecoder().decode(new Uint8Array(this.#wasm.memory.buffer, start, length));
    try {
      return this.#onText?.(part) === false ? 1 : 0;
    } catch (error) {
      this.#thrown = { error };
      return 1;
    }
  }

  /** Calls a function of the module. */
  #call(name, ...numbers) {
    if (this.#defect) throw this.#defect;
    try {
      return this.#answer(this.#wasm[name](...numbers));
    } catch (error) {
      throw this.#understand(error);
    }
  }

  /** The same for a function that waits for promises. */
  async #wait(name, ...numbers) {
    if (this.#defect) throw this.#defect;
    const waits = "promising" in WebAssembly;
    try {
      return this.#answer(await (waits ? WebAssembly.promising(this.#wasm[name]) : this.#wasm[name])(...numbers));
    } catch (error) {
      throw this.#understand(error);
    }
  }

  /** After a trap the module's memory may be in any state: the translator is then of no use. */
  #understand(error) {
    if (!(error instanceof WebAssembly.RuntimeError)) return error;
    this.#defect = new SiskinError("Internal", `out of memory or a defect (${error.message}): open the model again`);
    return this.#defect;
  }

  #answer(number) {
    if (number >= 0) return number;
    const [kind, ...message] = this.#decode(-number).split(": ");
    throw new SiskinError(kind, message.join(": "));
  }

  /** Puts a text into the exchange. */
  #put(text) {
    const bytes = new TextEncoder().encode(text);
    this.#bytes(bytes.length).set(bytes);
  }

  /** The exchange's text that a function of the module leaves there. */
  #text(name, ...numbers) {
    return this.#decode(this.#call(name, ...numbers));
  }

  #decode(length) {
    return new TextDecoder().decode(this.#bytes(length));
  }

  #bytes(length) {
    const start = this.#wasm.exchange(length);
    return new Uint8Array(this.#wasm.memory.buffer, start, length);
  }
}

/** Runs a model in a worker of its own, so that a page stays alive. */
export class WorkerTranslator {
  #worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  #pending = new Map();
  #next = 0;

  static async open(model, { wasm, delegate } = {}) {
    const translator = new WorkerTranslator();
    try {
      Object.assign(translator, await translator.#ask("open", [absolute(model), { wasm: absolute(wasm), delegate }]));
    } catch (error) {
      translator.close();
      throw error;
    }
    return translator;
  }

  constructor() {
    this.#worker.onmessage = ({ data }) => this.#hear(data);
    this.#worker.onerror = (event) => this.#fail(new SiskinError("Internal", event.message ?? "the worker did not start"));
  }

  /** Translates; `onText` is called with each part. Requests are answered in their order. */
  translate(text, { onText, ...options } = {}) {
    return this.#ask("translate", [text, options], onText);
  }

  /** Ends the worker at once, in the middle of a translation too, and gives its memory back. */
  close() {
    this.#worker.terminate();
    this.#fail(new SiskinError("Cancelled", "the translator was closed"));
  }

  #ask(method, parameters, onText) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, onText });
      this.#worker.postMessage({ id, method, parameters });
    });
  }

  #hear({ id, part, result, error }) {
    const request = this.#pending.get(id);
    if (!request) return;
    if (part !== undefined) {
      request.onText?.(part);
      return;
    }
    this.#pending.delete(id);
    if (error) request.reject(new SiskinError(error.kind, error.message));
    else request.resolve(result);
  }

  #fail(error) {
    for (const request of this.#pending.values()) request.reject(error);
    this.#pending.clear();
  }
}

/** A URL as a worker understands it; anything else as it is. */
function absolute(source) {
  const url = typeof source === "string" || source instanceof URL;
  return url ? new URL(source, location.href).href : source;
}
