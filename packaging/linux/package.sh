#!/usr/bin/env bash
# packaging/linux/package.sh TARGET DEBIAN-ARCHITECTURE [--serve]: a static program with the models of everyday sentences.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=$1 architecture=$2 features=cli
[ "${3-}" != --serve ] || features=serve
largest=2300000 # bytes of the program
[ "$architecture-$features" != arm64-cli ] || largest=1500000

source packaging/small.sh
# Every ARMv7 that is meant has NEON; Rust's target leaves it out.
[ "$architecture" != armhf ] || RUSTFLAGS+=' -C target-feature=+neon'
linker=rust-lld # comes with Rust, as the C library of these targets does
if ! rustup target add "$target"; then
    [ "$architecture" = armhf ] || exit 1
    echo "no $target: linking against a static glibc instead" >&2
    target=${target/musl/gnu} linker=arm-linux-gnueabihf-gcc
    RUSTFLAGS+=' -C target-feature=+crt-static'
    rustup target add "$target"
fi
export "CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$target")_LINKER=$linker"
cargo build --locked --profile small --features "$features" --bin siskin --target "$target"

package=$(cargo pkgid --package siskin)
version=${package##*[#@]}
name=siskin-$version-$architecture
out=target/package
root=$out/$name
rm -rf "${out:?}/$name"*
program=${CARGO_TARGET_DIR:-target}/$target/small/siskin
install -D -m 755 "$program" "$root/usr/bin/siskin"
for model in en-de de-en; do
    install -D -m 644 "models/$model/$model.siskin" "$root/usr/share/siskin/models/$model/$model.siskin"
done
install -D -m 644 -t "$root/usr/share/doc/siskin" NOTICE LICENSE-MIT LICENSE-APACHE docs/cli.md docs/serve.md
[ "$features" != serve ] || install -D -m 644 -t "$root/lib/systemd/system" packaging/systemd/siskin.service
tar -czf "$out/$name.tar.gz" -C "$out" --owner=0 --group=0 "$name"

if command -v dpkg-deb >/dev/null; then
    mkdir "$root/DEBIAN"
    sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" \
        -e "s/@SIZE@/$(du -sk "$root/usr" | cut -f 1)/" packaging/linux/control.in >"$root/DEBIAN/control"
    dpkg-deb --root-owner-group --build "$root" "$out/$name.deb"
    rm -r "$root/DEBIAN"
else
    echo 'no .deb: there is no dpkg-deb' >&2
fi

size=$(stat -c %s "$program")
stat -c '%s %n' "$root"/usr/bin/siskin "$root"/usr/share/siskin/models/*/*.siskin "$out/$name".*
[ "$size" -le "$largest" ] || { echo "$program has $size bytes, more than $largest" >&2; exit 1; }
