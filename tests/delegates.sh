#!/usr/bin/env bash
# Installs the libraries of delegates that are not in the default test run, pinned, under target/delegates, and holds each
# against the CPU; and LiteRT for Python, which runs exported files.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(uname -sm)" != 'Linux x86_64' ]; then
    echo "SKIPPED: OpenVINO, LiteRT: the pinned wheels are for Linux on x86-64"
    exit 0
fi
folder=$PWD/target/delegates

install() { # install NAME PIP-ARGUMENT...: once, into a folder of its own
    [ -e "$folder/$1" ] || python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
        --target "$folder/$1" "${@:2}"
}

install onnxruntime-openvino-1.24.1 --no-deps onnxruntime-openvino==1.24.1
library=$folder/onnxruntime-openvino-1.24.1/onnxruntime/capi/libonnxruntime.so.1.24.1
# The provider looks for OpenVINO's libraries, which lie beside it, on the path of libraries.
SISKIN_DELEGATE=ort:openvino ORT_DYLIB_PATH=$library LD_LIBRARY_PATH=$(dirname "$library") \
    cargo test -p siskin-export --test ort_delegate -- --nocapture --test-threads 1

install ai-edge-litert-2.3.0 ai-edge-litert==2.3.0
PYTHONPATH=$folder/ai-edge-litert-2.3.0 cargo test -p siskin-export --test tflite_export -- --nocapture
