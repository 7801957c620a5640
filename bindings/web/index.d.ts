/** Where bytes come from: a URL is fetched. */
export type Source = string | URL | Blob | ArrayBuffer | ArrayBufferView;

/** What kind of thing went wrong: those of the Rust crate, and `Internal` for a defect or a lack of memory. */
export type ErrorKind =
  | "Io"
  | "NotAModel"
  | "NewerVersion"
  | "Corrupt"
  | "Schema"
  | "Vocabulary"
  | "InvalidUtf8"
  | "InvalidOption"
  | "InputTooLong"
  | "MemoryLimit"
  | "NonFinite"
  | "Cancelled"
  | "Delegate"
  | "Internal";

/** What every function throws, or rejects with. */
export class SiskinError extends Error {
  readonly kind: ErrorKind;
  constructor(kind: ErrorKind, message: string);
}

export interface OpenOptions {
  /** The WebAssembly module, where it is not beside `index.js`: `siskin.wasm`, or for a GPU `siskin-gpu.wasm`. */
  wasm?: Source | WebAssembly.Module;
  /**
   * Who runs the layers: `cpu`, the default, or `gpu`, through WebGPU in a browser that lets a module wait (JavaScript
   * Promise Integration). Without either, or if the GPU gives wrong numbers, that is an error of the kind `Delegate`.
   */
  delegate?: "cpu" | "gpu";
}

/** How to translate; what is not given is as the model asks for. */
export interface TranslateOptions {
  /** Hypotheses that are followed, 1 to 16; 1 is greedy search. */
  beam?: number;
  /** Alternatives that are given back, at most `beam`. */
  alternatives?: number;
  /** Tokens of an output, at most. */
  maxTokens?: number;
  /** What the model reads at once: a line of the text as it is, or one sentence of it at a time. */
  unit?: "line" | "sentence";
  /**
   * Takes the parts of the translation as soon as they are certain; one behind the other they are its text. Of a
   * `Translator`, `false` cancels the rest.
   */
  onText?: (part: string) => unknown;
}

export interface Alternative {
  text: string;
  /** The log-probability after the length penalty, an f32 with the bits that it has on every other machine. */
  score: number;
  /** The tokens of all its sentences. */
  tokens: number[];
}

/** The best text, and all alternatives, best first. */
export interface Translation extends Alternative {
  alternatives: Alternative[];
  milliseconds: number;
  /** Bytes of the module's memory, the model included. */
  memory: number;
  /** On a GPU: where what ran and what a step copies, and what the self-test found, a line each. */
  placement?: string;
}

/** What the model file says of itself. */
export interface Card {
  name?: string;
  task?: string;
  languages?: string;
  description?: string;
  licence?: string;
  attribution?: string;
}

interface Opened {
  readonly card: Card;
  /** `wasm-simd128`. */
  readonly instructionSet: string;
  /** The beam that the model asks for. */
  readonly beam: number;
  readonly delegate: "cpu" | "gpu";
}

/** Runs a model in the thread that calls it. */
export interface Translator extends Opened {
  /** Bytes of the module's memory, the model included. It never shrinks: to give it back, drop the translator. */
  readonly memory: number;
  translate(text: string, options?: TranslateOptions): Translation;
}
/** The same on a GPU, for which the thread does not wait. */
export interface GpuTranslator extends Opened {
  readonly memory: number;
  translate(text: string, options?: TranslateOptions): Promise<Translation>;
}
export const Translator: {
  /** Opens a model file, whose checksums are verified. */
  open(model: Source, options: OpenOptions & { delegate: "gpu" }): Promise<GpuTranslator>;
  open(model: Source, options?: OpenOptions): Promise<Translator>;
};

/** Runs a model in a worker of its own: the thread that calls it goes on. */
export interface WorkerTranslator extends Opened {
  /** Requests are answered in their order. What `onText` returns is ignored. */
  translate(text: string, options?: TranslateOptions): Promise<Translation>;
  /** Ends the worker at once, in the middle of a translation too: that is how to cancel one. */
  close(): void;
}
export const WorkerTranslator: {
  /** Opens a model file, whose checksums are verified. */
  open(model: Source, options?: OpenOptions): Promise<WorkerTranslator>;
};
