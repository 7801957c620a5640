#!/usr/bin/env bash
# Installs the libraries of delegates that are not in the default test run, pinned, under target/delegates, and holds each
# against the CPU; and LiteRT for Python, which runs exported files.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(uname -sm)" != 'Linux x86_64' ]; then
    echo "SKIPPED: OpenVINO, LiteRT, TensorFlow Lite: the pinned packages are for Linux on x86-64"
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

# Its C library, and TensorFlow Lite's of a package for Node.js.
litert=$folder/ai-edge-litert-2.3.0/ai_edge_litert
tflite=$folder/package/cc_deps
if [ ! -e "$tflite" ]; then
    (cd "$folder" && npm pack --silent tfjs-tflite-node@0.0.2 > /dev/null)
    sha256sum --check --quiet <<< "3be1632328a76a2475e5b6833253763c802c859433becb4d879ee1860e3b5284  $folder/tfjs-tflite-node-0.0.2.tgz"
    tar -xzf "$folder/tfjs-tflite-node-0.0.2.tgz" -C "$folder" package/cc_deps
fi
sha256sum --check --quiet << END
eec47eb35e2924b3166015887e652a58edc9af823ae38e02bf83bef2548300bb  $litert/libLiteRt.so
b67f193ae6eb8ad3a15349f54aba696c97d6f981c92bc2eb1096cbe9e2835b25  $litert/libLiteRtWebGpuAccelerator.so
END
# The GPU is SwiftShader, the software rasterizer of Chromium.
SISKIN_DELEGATES='litert litert:gpu tflite' SISKIN_SENTENCES=10 \
    SISKIN_LITERT_LIBRARY=$litert/libLiteRt.so SISKIN_TFLITE_LIBRARY=$tflite/linux_amd64/libtensorflowlite_c.so \
    VK_ICD_FILENAMES=/usr/lib/chromium/vk_swiftshader_icd.json \
    cargo test -p siskin-export --test tflite_delegate -- --nocapture --test-threads 1

# Both as ARM programs.
target=aarch64-unknown-linux-gnu
if ! command -v qemu-aarch64 > /dev/null || ! command -v aarch64-linux-gnu-g++ > /dev/null; then
    echo "SKIPPED: LiteRT and TensorFlow Lite on ARM: there is no qemu-aarch64, or no C++ compiler for ARM"
    exit 0
fi
install ai-edge-litert-2.3.0-arm --no-deps --only-binary=:all: --platform manylinux_2_27_aarch64 --python-version 3.11 \
    ai-edge-litert==2.3.0
CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc cargo build --target $target --features cli,tflite
# LiteRT reads what kind of CPU it runs on.
mkdir -p "$folder/arm/proc"
ln -sfn /usr/aarch64-linux-gnu/lib "$folder/arm/lib"
printf 'processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd0b\n' \
    > "$folder/arm/proc/cpuinfo"
translate() { # translate OPTION...
    qemu-aarch64 -cpu cortex-a76 -L "$folder/arm" "${CARGO_TARGET_DIR:-target}/$target/debug/siskin" translate \
        -m models/en-de/en-de.siskin --beam 1 --max-length 64 "$@" 'Good morning, how are you today?'
}
expected=$(translate)
for run in "int8 litert $folder/ai-edge-litert-2.3.0-arm/ai_edge_litert/libLiteRt.so" \
    "f32 tflite $tflite/linux_arm64/libtensorflowlite_c.so"; do
    read -r weights delegate library <<< "$run"
    cargo run --quiet -p siskin-export -- tflite models/en-de/en-de.siskin --for delegate --weights "$weights" \
        --out "$folder/en-de-$weights.tflite"
    found=$(translate --delegate "$delegate" --delegate-setting "library=$library" \
        --delegate-setting "graphs=$folder/en-de-$weights.tflite")
    [ "$found" = "$expected" ] || { echo "$delegate on ARM says: $found, not: $expected"; exit 1; }
done
