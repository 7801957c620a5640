#!/usr/bin/env bash
# Builds the WebAssembly module of the npm package in this folder, and refuses one that is over its budget. `npm pack` makes
# the package of what is then here.
set -euo pipefail
cd "$(dirname "$0")"

budget=500000 # bytes, gzipped
cargo build --release --quiet
cp "${CARGO_TARGET_DIR:-../../target/web}/wasm32-unknown-unknown/release/siskin_web.wasm" siskin.wasm
cp ../../LICENSE-{APACHE,MIT} .
zipped=$(gzip -9c siskin.wasm | wc -c)
echo "siskin.wasm: $(wc -c < siskin.wasm) bytes, $zipped gzipped"
[ "$zipped" -le "$budget" ] || { echo "over the budget of $budget bytes" >&2; exit 1; }
