#!/usr/bin/env bash
# Makes Siskin.xcframework: static libraries for devices and simulators, the header and its module for Swift. Nothing is
# linked, so no Xcode is needed.
set -euo pipefail
cd "$(dirname "$0")/../.."

source packaging/small.sh
framework=target/package/ios/Siskin.xcframework
rm -rf "$framework"
slices=''
slice() { # slice FOLDER ARCHITECTURE TARGET [VARIANT]
    rustup target add "$3" || { echo "Siskin.xcframework has no $1" >&2; return; }
    cargo rustc --locked --lib --profile small --features capi --crate-type staticlib --target "$3"
    install -D -m 644 "${CARGO_TARGET_DIR:-target}/$3/small/libsiskin.a" "$framework/$1/libsiskin.a"
    install -D -m 644 -t "$framework/$1/Headers" include/siskin.h packaging/ios/module.modulemap
    slices+="<dict>
        <key>LibraryIdentifier</key><string>$1</string>
        <key>LibraryPath</key><string>libsiskin.a</string>
        <key>HeadersPath</key><string>Headers</string>
        <key>SupportedArchitectures</key><array><string>$2</string></array>
        <key>SupportedPlatform</key><string>ios</string>
        ${4:+<key>SupportedPlatformVariant</key><string>$4</string>}
    </dict>"
}
slice ios-arm64 arm64 aarch64-apple-ios
slice ios-arm64-simulator arm64 aarch64-apple-ios-sim simulator

cat >"$framework/Info.plist" <<END
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
    <key>AvailableLibraries</key><array>$slices</array>
    <key>CFBundlePackageType</key><string>XFWK</string>
    <key>XCFrameworkFormatVersion</key><string>1.0</string>
</dict></plist>
END
find "$framework" -type f -exec stat -c '%s %n' {} +
