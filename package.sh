#!/usr/bin/env bash
# Packages Siskin for a device; docs/packaging.md describes what it makes, in target/package:
#   ./package.sh pi|armv7|x86_64 [--serve]    a static program with models: folder, .tar.gz and .deb
#   ./package.sh android|ios                  libraries in the layout of an AAR or an XCFramework
set -euo pipefail
cd "$(dirname "$0")"

usage() {
    sed -n '2,4s/^# *//p' package.sh >&2
    exit 2
}

[ $# -gt 0 ] || usage
case "$*" in
    pi | 'pi --serve') exec packaging/linux/package.sh aarch64-unknown-linux-musl arm64 "${2-}" ;;
    armv7 | 'armv7 --serve') exec packaging/linux/package.sh armv7-unknown-linux-musleabihf armhf "${2-}" ;;
    x86_64 | 'x86_64 --serve') exec packaging/linux/package.sh x86_64-unknown-linux-musl amd64 "${2-}" ;;
    android) exec packaging/android/package.sh ;;
    ios) exec packaging/ios/package.sh ;;
    *) usage ;;
esac
