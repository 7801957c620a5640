//! The ONNX Runtime library: where it is, how it gets there, and sessions of graphs.

use crate::onnx::Graph;
use ort::environment::Environment;
use ort::session::Session;
use sha2::{Digest, Sha256};
use siskin::{Error, ErrorKind, Result};
use std::fmt::Display;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The release that `siskin-export ort setup` installs.
pub const VERSION: &str = "1.32.0";

/// Names the library to load instead of the installed one.
pub const PATH_VARIABLE: &str = "ORT_DYLIB_PATH";

/// SHA-256 of the wheels of that release that were tried, by Python's platform tag.
const WHEELS: &[(&str, &str)] =
    &[("manylinux_2_28_x86_64", "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d")];

/// The folder of the installed library: `$XDG_CACHE_HOME/siskin/onnxruntime-VERSION`, else under `~/.cache`.
fn install_folder() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let cache =
        cache.ok_or_else(|| invalid("neither XDG_CACHE_HOME nor HOME is set: no folder to install to"))?;
    Ok(cache.join("siskin").join(format!("onnxruntime-{VERSION}")))
}

/// The library to load: the file that `ORT_DYLIB_PATH` names, else the installed one.
///
/// # Errors
/// When there is none; the message names the command that installs it.
pub fn library_path() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(PATH_VARIABLE) {
        return Ok(path.into());
    }
    let path = install_folder()?.join("libonnxruntime.so");
    match path.exists() {
        true => Ok(path),
        false => Err(invalid(format!(
            "{} is missing: run `siskin-export ort setup`, or set {PATH_VARIABLE} to an ONNX Runtime library",
            path.display()
        ))),
    }
}

/// Loads the library; a process has one environment.
///
/// # Errors
/// When it is missing, or is no ONNX Runtime that this crate can use.
pub fn environment() -> Result<&'static Environment> {
    static ENVIRONMENT: OnceLock<Result<Environment>> = OnceLock::new();
    let environment = ENVIRONMENT.get_or_init(|| {
        let path = library_path()?;
        let failed = |e: &dyn Display| invalid(format!("{} cannot be loaded: {e}", path.display()));
        ort::init_from(&path).map_err(|e| failed(&e))?.build().map_err(|e| failed(&e))
    });
    environment.as_ref().map_err(|e| Error::new(e.kind(), e.to_string()))
}

/// A session that runs `graph` with `threads` threads; its results depend on nothing but its inputs.
///
/// # Errors
/// When ONNX Runtime refuses the graph.
pub fn session(environment: &Environment, graph: &Graph, threads: usize) -> Result<Session> {
    let making = |e: &dyn Display| failed("making a session", e);
    let builder = Session::builder(environment).map_err(|e| making(&e))?;
    let builder = builder.with_intra_threads(threads).map_err(|e| making(&e))?;
    let mut builder = builder.with_deterministic_compute(true).map_err(|e| making(&e))?;
    builder.commit_from_memory(&graph.to_onnx()).map_err(|e| failed("loading the graph", &e))
}

/// What ONNX Runtime answered to `doing`.
pub fn failed(doing: &str, error: &dyn Display) -> Error {
    Error::new(ErrorKind::Schema, format!("{doing}: ONNX Runtime answered: {error}"))
}

/// Downloads the wheel of [`VERSION`] with pip, checks its hash and puts the library in the cache folder.
///
/// # Errors
/// When pip fails, when the platform is not one whose hash is known, or when the hash differs.
pub fn setup() -> Result<PathBuf> {
    let folder = install_folder()?;
    let download = folder.join("download");
    std::fs::create_dir_all(&download).map_err(|e| Error::io(format!("making {}", download.display()), e))?;
    let requirement = format!("onnxruntime=={VERSION}");
    let status = Command::new("pip")
        .args(["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"])
        .arg(&download)
        .arg(&requirement)
        .status()
        .map_err(|e| Error::io("running pip (is Python installed?)", e))?;
    if !status.success() {
        return Err(invalid(format!("`pip download {requirement}` failed; its message is above")));
    }
    let wheel = find_wheel(&download)?;
    check_hash(&wheel)?;
    let library = folder.join("libonnxruntime.so");
    extract_library(&wheel, &library)?;
    std::fs::remove_dir_all(&download)
        .map_err(|e| Error::io(format!("removing {}", download.display()), e))?;
    Ok(library)
}

fn find_wheel(folder: &Path) -> Result<PathBuf> {
    let entries =
        std::fs::read_dir(folder).map_err(|e| Error::io(format!("listing {}", folder.display()), e))?;
    let mut wheels =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "whl"));
    wheels.next().ok_or_else(|| invalid(format!("pip left no wheel in {}", folder.display())))
}

fn check_hash(wheel: &Path) -> Result<()> {
    let name = wheel.file_name().unwrap_or_default().to_string_lossy();
    let expected = WHEELS.iter().find(|(platform, _)| name.contains(platform));
    let (_, expected) = expected.ok_or_else(|| {
        invalid(format!(
            "{name} is for a platform whose hash is not known; set {PATH_VARIABLE} to your library"
        ))
    })?;
    let bytes = std::fs::read(wheel).map_err(|e| Error::io(format!("reading {}", wheel.display()), e))?;
    let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    match found == *expected {
        true => Ok(()),
        false => Err(invalid(format!("{name} has the SHA-256 {found}, not {expected}: it is not installed"))),
    }
}

/// Takes `onnxruntime/capi/libonnxruntime.so.*` out of the wheel.
fn extract_library(wheel: &Path, library: &Path) -> Result<()> {
    let file =
        std::fs::File::open(wheel).map_err(|e| Error::io(format!("opening {}", wheel.display()), e))?;
    let damaged = |e: zip::result::ZipError| invalid(format!("{} is not a wheel: {e}", wheel.display()));
    let mut archive = zip::ZipArchive::new(file).map_err(damaged)?;
    let names: Vec<String> = archive.file_names().flatten().map(String::from).collect();
    let inside = names.iter().find(|name| name.contains("/libonnxruntime.so"));
    let inside = inside.ok_or_else(|| invalid(format!("{} holds no libonnxruntime.so", wheel.display())))?;
    let mut bytes = Vec::new();
    let mut entry = archive.by_name(inside).map_err(damaged)?;
    entry.read_to_end(&mut bytes).map_err(|e| Error::io(format!("unpacking {inside}"), e))?;
    let partial = library.with_extension("partial");
    std::fs::write(&partial, bytes).map_err(|e| Error::io(format!("writing {}", partial.display()), e))?;
    std::fs::rename(&partial, library).map_err(|e| Error::io(format!("naming {}", library.display()), e))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}
