#!/usr/bin/env bash
# Builds the Kotlin bindings for this machine and runs Check.kt; needs gcc, a JDK and kotlinc.
set -euo pipefail
cd "$(dirname "$0")/../.."

built=${CARGO_TARGET_DIR:-$PWD/target}/kotlin
java_home=$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")
packaging/c/install.sh --prefix "$built/prefix"
gcc -std=c99 -Wall -Wextra -Werror -pedantic -O2 -shared -fPIC -I "$java_home/include" -I "$java_home/include/linux" \
    -I include bindings/kotlin/siskin_jni.c -o "$built/libsiskin_jni.so" -L "$built/prefix/lib" \
    "-Wl,-rpath,$built/prefix/lib" -lsiskin
kotlinc bindings/kotlin/siskin/Siskin.kt bindings/kotlin/Check.kt -include-runtime -d "$built/check.jar"
# The checked form of JNI calls the program's every mistake by name.
java -Xcheck:jni -Djava.library.path="$built" -cp "$built/check.jar" CheckKt models/en-de/en-de.siskin
