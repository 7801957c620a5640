// Runs a program for WASI: cargo's runner for the target wasm32-wasip1.

import { readFile } from "node:fs/promises";
import { WASI } from "node:wasi";

const [program, ...parameters] = process.argv.slice(2);
const wasi = new WASI({ version: "preview1", args: [program, ...parameters], env: process.env, preopens: { "/": "/" } });
const module = await WebAssembly.compile(await readFile(program));
const imports = { wasi_snapshot_preview1: wasi.wasiImport };
process.exitCode = wasi.start(await WebAssembly.instantiate(module, imports));
