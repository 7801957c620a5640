#!/usr/bin/env bash
# Installs the libraries of delegates that are not in the default test run, pinned, under target/delegates, and holds each
# against the CPU.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(uname -sm)" != 'Linux x86_64' ]; then
    echo "SKIPPED: OpenVINO: the pinned wheel is for Linux on x86-64"
    exit 0
fi
folder=$PWD/target/delegates/onnxruntime-openvino-1.24.1
library=$folder/onnxruntime/capi/libonnxruntime.so.1.24.1
[ -e "$library" ] || python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
    --target "$folder" onnxruntime-openvino==1.24.1
# The provider looks for OpenVINO's libraries, which lie beside it, on the path of libraries.
SISKIN_DELEGATE=ort:openvino ORT_DYLIB_PATH=$library LD_LIBRARY_PATH=$(dirname "$library") \
    cargo test -p siskin-export --test ort_delegate -- --nocapture --test-threads 1
