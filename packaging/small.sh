# Sourced by what builds for size. Inlining less than for speed costs no speed that was measured, because kernels ask to be
# inlined; without unwinding no tables for it are needed.
export RUSTFLAGS="${RUSTFLAGS-} -C llvm-args=-inline-threshold=50 -C force-unwind-tables=no"
