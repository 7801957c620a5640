#!/usr/bin/env bash
# Builds the C libraries for Linux and installs them with their header and pkg-config file, as cargo-c lays them out:
#   packaging/c/install.sh [--prefix DIR] [--destdir DIR] [--target TRIPLE] [--small]
# --small is for size: without learning and int4 weights; the standard library is built without messages (`rustup component add rust-src`), by
# options of the compiler that are not stable; a defect ends the process.
set -euo pipefail
cd "$(dirname "$0")/../.."

prefix=/usr/local destdir='' target='' build=(--profile release --features capi,learn)
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) prefix=$2; shift ;;
        --destdir) destdir=$2; shift ;;
        --target) target=$2; shift ;;
        --small) build=(--profile small --no-default-features --features capi -Z build-std=std,panic_abort -Z build-std-features=) ;;
        *) sed -n '2,5s/^# *//p' "$0" >&2; exit 2 ;;
    esac
    shift
done
profile=${build[1]}
if [ "$profile" = small ]; then
    source packaging/small.sh
    export RUSTC_BOOTSTRAP=1 RUSTFLAGS+=' -Z unstable-options -C panic=immediate-abort'
    target=${target:-$(rustc -vV | sed -n 's/^host: //p')} # what is for no target is for this machine's build scripts, too
fi

package=$(cargo pkgid --package siskin)
version=${package##*[#@]}
soname=libsiskin.so.${version%.*} # before 1.0 a new minor version may break programs
export CARGO_PROFILE_RELEASE_LTO=fat # the package alone is quick to build
# The compiler says which libraries of the system a static library needs.
static_libraries=$(
    cargo rustc --lib "${build[@]}" --crate-type cdylib,staticlib ${target:+--target "$target"} -- \
        -C strip=symbols -C link-arg="-Wl,-soname,$soname" --print native-static-libs 2>&1 |
        tee >(cat >&2) | sed -n 's/^note: native-static-libs: //p'
)
built=${CARGO_TARGET_DIR:-target}/${target:+$target/}$profile

root=$destdir$prefix
mkdir -p "$root/include" "$root/lib/pkgconfig"
install -m 644 include/siskin.h "$root/include/"
install -m 644 "$built/libsiskin.a" "$root/lib/"
install -m 755 "$built/libsiskin.so" "$root/lib/libsiskin.so.$version"
ln -sf "libsiskin.so.$version" "$root/lib/$soname"
ln -sf "$soname" "$root/lib/libsiskin.so"
sed -e "s|@PREFIX@|$prefix|" -e "s|@VERSION@|$version|" -e "s|@STATIC_LIBRARIES@|$static_libraries|" \
    packaging/c/siskin.pc.in >"$root/lib/pkgconfig/siskin.pc"
echo "installed Siskin $version in $root"
