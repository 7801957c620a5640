#!/usr/bin/env bash
# Builds the WebAssembly modules of the npm package in this folder, the second with the delegate `gpu`, and refuses one that
# is over its budget. `npm pack` makes the package of what is then here.
set -euo pipefail
cd "$(dirname "$0")"

budget=500000 # bytes, gzipped
cp ../../LICENSE-{APACHE,MIT} .
module() { # module NAME CARGO-ARGUMENT...
    cargo build --release --quiet "${@:2}"
    cp "${CARGO_TARGET_DIR:-../../target/web}/wasm32-unknown-unknown/release/siskin_web.wasm" "$1"
    zipped=$(gzip -9c "$1" | wc -c)
    echo "$1: $(wc -c < "$1") bytes, $zipped gzipped"
    [ "$zipped" -le "$budget" ] || { echo "over the budget of $budget bytes" >&2; exit 1; }
}
module siskin.wasm
module siskin-gpu.wasm --features gpu
