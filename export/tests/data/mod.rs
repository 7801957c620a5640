//! Where the tests find real data and models, which are no part of the repository.

#![allow(dead_code, reason = "every test uses its part")]

use std::io::BufReader;
use std::path::{Path, PathBuf};

/// The folder `name` of the data, or `None` (said loudly) where it is absent. `SISKIN_DATA` overrides the place.
pub fn folder(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("SISKIN_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let folder = root.join(name);
    if !folder.is_dir() {
        eprintln!("SKIPPED: no {}; set SISKIN_DATA to the folder of data", folder.display());
        return None;
    }
    Some(folder)
}

/// The bytes of a file, unpacked where it is packed by xz.
fn bytes(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    if path.extension().is_none_or(|extension| extension != "xz") {
        return bytes;
    }
    let mut unpacked = Vec::new();
    lzma_rs::xz_decompress(&mut BufReader::new(&bytes[..]), &mut unpacked).unwrap();
    unpacked
}

/// The text of a file, which may be packed by xz.
pub fn text(path: &Path) -> String {
    String::from_utf8(bytes(path)).unwrap()
}

/// The lines of a JSON-lines file, which may be packed by xz.
pub fn json_lines<T: serde::de::DeserializeOwned>(path: &Path) -> Vec<T> {
    serde_json::Deserializer::from_slice(&bytes(path)).into_iter().map(Result::unwrap).collect()
}
