#!/usr/bin/env bash
# Installs the libraries of delegates that are not in the default test run, pinned, under target/delegates, and holds each
# against the CPU; and LiteRT for Python, which runs exported files.
#
# Qualcomm's licence allows tests with its package, and no redistribution: nothing of it leaves target/delegates.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(uname -sm)" != 'Linux x86_64' ]; then
    echo "SKIPPED: OpenVINO, WebGPU, QNN, LiteRT, TensorFlow Lite: the pinned packages are for Linux on x86-64"
    exit 0
fi
folder=$PWD/target/delegates
model=$PWD/models/en-de/en-de.siskin
all="--workspace --all-features" # what the default test run has built

say() { printf '\n-- %s (%(%T)T)\n' "$*" -1; }

install() { # install NAME PIP-ARGUMENT...: once, into a folder of its own
    [ -e "$folder/$1" ] || python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
        --target "$folder/$1" "${@:2}"
}

wheel() { # wheel NAME VERSION PLATFORM SHA256: that very file, whichever Python there is
    mkdir -p "$folder"
    echo "$1==$2 --hash=sha256:$4" > "$folder/$1.txt"
    install "$1-$2-$3" --no-deps --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 \
        --platform "$3" --require-hashes -r "$folder/$1.txt"
}

against_cpu() { # against_cpu DELEGATE LIBRARY PACKAGES [TEST]: of export/tests/ort_delegate.rs
    SISKIN_DELEGATE=$1 ORT_DYLIB_PATH=$2 \
        cargo test $3 --test ort_delegate -- --nocapture --test-threads 1 "${@:4}"
}

say 'OpenVINO on the CPU'
wheel onnxruntime-openvino 1.24.1 manylinux_2_28_x86_64 3007c803634cc69c6d52af1dea7ce729d9bb62b9a11070fd2f959119199007a8
library=$folder/onnxruntime-openvino-1.24.1-manylinux_2_28_x86_64/onnxruntime/capi/libonnxruntime.so.1.24.1
# The provider looks for OpenVINO's libraries, which lie beside it, on the path of libraries.
LD_LIBRARY_PATH=$(dirname "$library") against_cpu ort:openvino "$library" "$all"

# A software rasterizer without 16-bit floats and subgroups.
swiftshader=/usr/lib/chromium/vk_swiftshader_icd.json
if [ -e "$swiftshader" ]; then
    say 'WebGPU on SwiftShader'
    wheel onnxruntime-webgpu 1.27.0 manylinux_2_28_x86_64 142eb8bdb803c58117bf64164d201f43180bc87229cac14b590aa4ea79e0f70b
    library=$folder/onnxruntime-webgpu-1.27.0-manylinux_2_28_x86_64/onnxruntime/capi/libonnxruntime.so.1.27.0
    VK_DRIVER_FILES=$swiftshader VK_ICD_FILENAMES=$swiftshader against_cpu ort:webgpu "$library" "$all" copies

    say 'wgpu on SwiftShader'
    VK_DRIVER_FILES=$swiftshader VK_ICD_FILENAMES=$swiftshader SISKIN_SENTENCES=20 \
        cargo test $all --test gpu -- --nocapture
else
    echo "SKIPPED: SwiftShader: there is no $swiftshader (apt: chromium)"
fi

say "QNN, a simulator of Qualcomm's NPU, as a plugin"
wheel onnxruntime-qnn 2.7.0 manylinux_2_35_x86_64 c56c01562b8534fe8980cfea4601408d950c065f8251fb862ce82101c52c9849
qnn=$folder/onnxruntime-qnn-2.7.0-manylinux_2_35_x86_64/onnxruntime_qnn
stock=${XDG_CACHE_HOME:-$HOME/.cache}/siskin/onnxruntime-1.32.0/libonnxruntime.so # of `siskin-export ort setup`
settings="plugin=$qnn/libonnxruntime_providers_qnn.so backend_path=$qnn/libQnnHtp.so"
# A model of NPU that computes 16-bit floats: the one that is simulated without this does not.
settings+=' soc_model=60 enable_htp_fp16_precision=1'
# Without the other packages' features: the library that trains has not the interface of plugins.
RUSTFLAGS='--cfg siskin_plugins' CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/plugins \
    SISKIN_SENTENCES=3 SISKIN_DELEGATE_SETTINGS=$settings against_cpu ort:qnn "$stock" "-p siskin-export" shipped

say 'LiteRT for Python'
install ai-edge-litert-2.3.0 ai-edge-litert==2.3.0
PYTHONPATH=$folder/ai-edge-litert-2.3.0 cargo test $all --test tflite_export -- --nocapture

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
    cargo test $all --test tflite_delegate -- --nocapture --test-threads 1

if ! command -v qemu-aarch64 aarch64-linux-gnu-g++ > /dev/null; then
    echo "SKIPPED: ONNX Runtime, LiteRT and TensorFlow Lite on ARM: there is no qemu-aarch64, or no C++ compiler for ARM"
    exit 0
fi
say 'ONNX Runtime, LiteRT and TensorFlow Lite for ARM'
wheel onnxruntime 1.32.0 manylinux_2_28_aarch64 2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c
install ai-edge-litert-2.3.0-arm --no-deps --only-binary=:all: --platform manylinux_2_27_aarch64 --python-version 3.11 \
    ai-edge-litert==2.3.0
arm=aarch64-unknown-linux-gnu
CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc cargo build --target "$arm" --features cli,ort,tflite
# These libraries read which core they run on, and QEMU would show them this machine's.
mkdir -p "$folder/arm/proc"
ln -sfn /usr/aarch64-linux-gnu/lib "$folder/arm/lib"
printf '%s\t: %s\n' processor 0 Features 'fp asimd atomics fphp asimdhp asimddp' 'CPU implementer' 0x41 \
    'CPU architecture' 8 'CPU part' 0xd0b > "$folder/arm/proc/cpuinfo"
cargo build $all --bins
bin=${CARGO_TARGET_DIR:-target}/debug
on_arm() { qemu-aarch64 -cpu cortex-a76 -L "$folder/arm" "${CARGO_TARGET_DIR:-target}/$arm/debug/siskin" "$@"; }
export_graphs() { "$bin/siskin-export" "$1" "$model" --for delegate --out "${@:2}" > /dev/null; }

sentences=('Good morning' 'A man in a yellow shirt is riding a bicycle.' 'Two children play in the snow.' \
    'I do not know where she lives.' 'The train is late again.')
translate() { # translate LIBRARY GRAPHS DELEGATE RUNNER...
    printf '%s\n' "${sentences[@]}" | "${@:4}" translate -m "$model" --batch 1 --beam 1 --max-length 64 --delegate "$3" \
        --delegate-setting library="$1" --delegate-setting graphs="$2"
}
agree() { # agree DELEGATE X86-LIBRARY ARM-LIBRARY GRAPHS
    translate "$2" "$4" "$1" "$bin/siskin" > "$folder/x86.txt"
    translate "$3" "$4" "$1" on_arm > "$folder/arm.txt"
    diff "$folder/x86.txt" "$folder/arm.txt"
    [ "$(wc -l < "$folder/arm.txt")" = ${#sentences[@]} ]
    echo "$1: ${#sentences[@]} translations on ARM as on x86"
}
export_graphs onnx "$folder/en-de.onnx"
agree ort:cpu "$stock" "$folder/onnxruntime-1.32.0-manylinux_2_28_aarch64/onnxruntime/capi/libonnxruntime.so.1.32.0" \
    "$folder/en-de.onnx"
export_graphs tflite "$folder/en-de.tflite"
agree litert "$litert/libLiteRt.so" "$folder/ai-edge-litert-2.3.0-arm/ai_edge_litert/libLiteRt.so" "$folder/en-de.tflite"
export_graphs tflite "$folder/en-de-f32.tflite" --weights f32
agree tflite "$tflite/linux_amd64/libtensorflowlite_c.so" "$tflite/linux_arm64/libtensorflowlite_c.so" \
    "$folder/en-de-f32.tflite"
