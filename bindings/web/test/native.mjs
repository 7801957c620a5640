// The native command, which the WebAssembly module is held against.

import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../..", import.meta.url));

const target = process.env.CARGO_TARGET_DIR ?? `${root}/target`;

/** Builds the command for `profile`, `dev` or `release`, and gives its path. */
export function build(profile) {
  execFileSync("cargo", ["build", "--quiet", "--all-features", "--bin", "siskin", "--profile", profile], { cwd: root });
  return `${target}/${profile === "dev" ? "debug" : profile}/siskin`;
}

export const modelPath = (name) => `${root}/models/${name}/${name}.siskin`;

/** What the command at `program` gives for each text: the objects of `--json`. */
export function translate(program, model, texts, ...options) {
  const command = ["translate", "-m", modelPath(model), "--json", ...options];
  const input = texts.map((text) => `${text}\n`).join("");
  const output = execFileSync(program, command, { input, encoding: "utf8" });
  return output.trimEnd().split("\n").map((line) => JSON.parse(line));
}
