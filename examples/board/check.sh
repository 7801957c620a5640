#!/usr/bin/env bash
# Holds the board's phonemes and scores against the desktop's, bit for bit, and prints what the board reports. Wants
# qemu-system-arm. Arguments go to cargo: `--features greedy`.
set -euo pipefail
cd "$(dirname "$0")"

beam=()
[[ " $* " != *greedy* ]] || beam=(--beam 1)
words=words.txt
(cd ../.. && cargo build --quiet --all-features --bin siskin)
desktop=${CARGO_TARGET_DIR:-../../target}/debug/siskin
diff <("$desktop" translate -m ../../models/g2p-en/g2p-en.siskin --scores "${beam[@]}" < $words) \
     <(cargo run --quiet --release "$@" < $words)
echo 'the same as on the desktop, scores included'
