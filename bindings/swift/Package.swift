// swift-tools-version:5.9
import PackageDescription

// `./package.sh ios` makes the framework.
let package = Package(
    name: "Siskin",
    platforms: [.iOS(.v15)],
    products: [.library(name: "Siskin", targets: ["Siskin"])],
    targets: [
        .binaryTarget(name: "CSiskin", path: "../../target/package/ios/Siskin.xcframework"),
        .target(name: "Siskin", dependencies: ["CSiskin"]),
    ]
)
