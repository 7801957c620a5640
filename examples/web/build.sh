#!/usr/bin/env bash
# Puts the page, the npm package's files and two models into target/site. `--serve` serves it on this machine.
set -euo pipefail
cd "$(dirname "$0")/../.."

bindings/web/build.sh
site=target/site
mkdir -p $site/siskin $site/models
cp examples/web/{index.html,style.css,app.js,service-worker.js,manifest.webmanifest,icon.svg} $site/
cp bindings/web/{index.js,gpu.js,worker.js,siskin.wasm,siskin-gpu.wasm} $site/siskin/
cp models/{en-de/en-de,de-en/de-en}.siskin $site/models/
[ "${1:-}" != --serve ] || exec python3 -m http.server --bind 127.0.0.1 --directory $site 8000
