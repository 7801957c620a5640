#!/usr/bin/env bash
# Builds the C libraries for Linux and installs them with their header and pkg-config file, as cargo-c lays them out:
#   packaging/c/install.sh [--prefix DIR] [--destdir DIR] [--target TRIPLE]
set -euo pipefail
cd "$(dirname "$0")/../.."

prefix=/usr/local destdir='' target=''
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) prefix=$2 ;;
        --destdir) destdir=$2 ;;
        --target) target=$2 ;;
        *) sed -n '2,3s/^# *//p' "$0" >&2; exit 2 ;;
    esac
    shift 2
done

package=$(cargo pkgid --package siskin)
version=${package##*[#@]}
soname=libsiskin.so.${version%.*} # before 1.0 a new minor version may break programs
export CARGO_PROFILE_RELEASE_LTO=fat # the smallest; the package alone is quick to build
# The compiler says which libraries of the system a static library needs.
static_libraries=$(
    cargo rustc --lib --release --features capi --crate-type cdylib,staticlib ${target:+--target "$target"} -- \
        -C strip=symbols -C link-arg="-Wl,-soname,$soname" --print native-static-libs 2>&1 |
        tee /dev/stderr | sed -n 's/^note: native-static-libs: //p'
)
built=${CARGO_TARGET_DIR:-target}/${target:+$target/}release

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
