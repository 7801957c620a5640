plugins {
    id("com.android.application") version "8.7.3"
    kotlin("android") version "2.1.0"
}

android {
    namespace = "siskin.sample"
    compileSdk = 35
    defaultConfig {
        minSdk = 24
        targetSdk = 35
    }
    // The model is mapped where it lies in the package.
    androidResources { noCompress += "siskin" }
    sourceSets["main"].apply {
        manifest.srcFile("AndroidManifest.xml")
        java.srcDirs("src")
        assets.srcDirs("../../../models/en-de")
    }
}

dependencies {
    // `./package.sh android` makes it, with ANDROID_NDK_HOME.
    implementation(files("../../../target/package/android/siskin.aar"))
}
