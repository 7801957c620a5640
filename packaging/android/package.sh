#!/usr/bin/env bash
# Makes siskin.aar: static libraries for C++ (prefab) for every ABI, the Kotlin classes where kotlinc is installed, and their
# JNI libraries where ANDROID_NDK_HOME names an NDK. Every library that is linked must have pages of 16 KB.
set -euo pipefail
cd "$(dirname "$0")/../.."

api=24 page=16384
declare -A targets=(
    [arm64-v8a]=aarch64-linux-android [armeabi-v7a]=armv7-linux-androideabi
    [x86_64]=x86_64-linux-android [x86]=i686-linux-android
)
source packaging/small.sh
package=$(cargo pkgid --package siskin)
version=${package##*[#@]}
out=target/package/android
aar=$out/aar
module=$aar/prefab/modules/siskin
rm -rf "$out"
mkdir -p "$module/include"
cp packaging/android/AndroidManifest.xml "$aar/"
cp include/siskin.h "$module/include/"
echo "{\"name\": \"siskin\", \"schema_version\": 2, \"version\": \"$version\", \"dependencies\": []}" >"$aar/prefab/prefab.json"
echo '{"export_libraries": ["-llog", "-ldl", "-lm"]}' >"$module/module.json"

# The linker that comes with Rust; without an NDK it has no C library to link to, which its symbols are left to.
lld=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/rust-lld
echo '{ global: siskin_*; local: *; };' >"$out/exports"
has_large_pages() { # has_large_pages LIBRARY
    local align aligns
    aligns=$(readelf -lW "$1" | awk '$1 == "LOAD" { print $NF }')
    for align in ${aligns:?"$1 has no segments"}; do
        ((align >= page)) || { echo "$1: a segment is aligned to $align" >&2; return 1; }
    done
    echo "$1: segments are aligned to" $aligns
}

for abi in "${!targets[@]}"; do
    target=${targets[$abi]}
    rustup target add "$target"
    cargo rustc --locked --lib --profile small --features capi --crate-type staticlib --target "$target"
    library=$module/libs/android.$abi/libsiskin.a
    install -D -m 644 "${CARGO_TARGET_DIR:-target}/$target/small/libsiskin.a" "$library"
    echo "{\"abi\": \"$abi\", \"api\": $api, \"ndk\": 28, \"stl\": \"none\", \"static\": true}" >"${library%/*}/abi.json"
    if [ -n "${ANDROID_NDK_HOME-}" ]; then
        jni=$aar/jni/$abi/libsiskin_jni.so
        mkdir -p "${jni%/*}"
        clang=("$ANDROID_NDK_HOME"/toolchains/llvm/prebuilt/*/bin/clang)
        "${clang[0]}" "--target=${target/armv7-/armv7a-}$api" -std=c99 -O2 -shared -fPIC -I include \
            bindings/kotlin/siskin_jni.c "$library" -llog -ldl -lm -o "$jni" \
            -Wl,-z,max-page-size=$page -Wl,--gc-sections -Wl,--exclude-libs,ALL
    else
        jni=$out/without-libc/$abi/libsiskin.so
        mkdir -p "${jni%/*}"
        "$lld" -flavor gnu -shared --gc-sections -z max-page-size=$page --version-script "$out/exports" \
            --strip-all --whole-archive "$library" -o "$jni"
    fi
    has_large_pages "$jni"
done

if command -v kotlinc >/dev/null; then
    kotlinc bindings/kotlin/siskin/Siskin.kt -d "$aar/classes.jar"
else
    echo 'siskin.aar has no Kotlin classes: there is no kotlinc' >&2
fi
[ -n "${ANDROID_NDK_HOME-}" ] ||
    echo 'siskin.aar has no JNI libraries: ANDROID_NDK_HOME names no NDK. What was linked here lacks a C library.' >&2
(cd "$aar" && python3 -m zipfile -c ../siskin.aar ./*)
find "$out" -name '*.a' -o -name '*.so' -o -name '*.aar' | sort | xargs stat -c '%s %n'
