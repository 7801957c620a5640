//! The library of ONNX Runtime. A process loads one and keeps it.

use ort::environment::Environment;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use crate::delegate::{cache_folder, failed};
use crate::error::{Error, Result};

/// Names the library where no setting does.
const VARIABLE: &str = "ORT_DYLIB_PATH";

/// Where `siskin-export ort setup` puts it, in the user's cache folder.
const INSTALLED: &str = "onnxruntime-1.32.0/libonnxruntime.so";

static LOADED: OnceLock<Library> = OnceLock::new();
/// Held while a library is loaded.
static LOADING: Mutex<()> = Mutex::new(());

/// A library that is loaded.
pub struct Library {
    /// Its file.
    pub path: PathBuf,
    /// What sessions are made in.
    pub environment: Environment,
}

impl Library {
    /// The library of this process, if it has loaded one.
    pub fn loaded() -> Option<&'static Self> {
        LOADED.get()
    }

    /// What the library says of itself.
    pub fn version(&self) -> String {
        let build = ort::info().split(", ").take(2).collect::<Vec<_>>().join(", ");
        let build = build.strip_prefix("ORT Build Info: ").unwrap_or(&build);
        format!("ONNX Runtime at {} ({build})", self.path.display())
    }
}

/// The library at `path`, else that of `ORT_DYLIB_PATH`, else the installed one.
///
/// # Errors
/// [`Delegate`](crate::ErrorKind::Delegate) if there is none, if the file is no ONNX Runtime or too old a one, or if another
/// one was loaded before.
pub fn load(path: Option<&Path>) -> Result<&'static Library> {
    let path = path.map_or_else(usual_path, |path| Ok(path.to_owned()))?;
    // A relative path would be looked for beside the program.
    let path = path.canonicalize().map_err(|error| failed(format!("{}: {error}", path.display())))?;
    let _alone = LOADING.lock().map_err(|_| failed("a thread ended in a panic"))?;
    if LOADED.get().is_none() {
        let refused = |error: &dyn std::fmt::Display| {
            failed(format!("{} cannot be used as ONNX Runtime: {error}", path.display()))
        };
        let builder = ort::init_from(&path).map_err(|error| refused(&error))?;
        let environment = builder.build().map_err(|error| refused(&error))?;
        LOADED.get_or_init(|| Library { path: path.clone(), environment });
    }
    match LOADED.get() {
        Some(library) if library.path == path => Ok(library),
        loaded => {
            let loaded = loaded.map(|library| library.path.display().to_string()).unwrap_or_default();
            Err(failed(format!("this process has loaded {loaded} and cannot load {} too", path.display())))
        }
    }
}

fn usual_path() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        return Ok(path.into());
    }
    let installed = cache_folder().unwrap_or_default().join(INSTALLED);
    let missing = || -> Error {
        failed(format!(
            "there is no ONNX Runtime: {} is missing; `siskin-export ort setup` installs it, or set {VARIABLE} to the \
             file of another",
            installed.display()
        ))
    };
    if installed.exists() { Ok(installed) } else { Err(missing()) }
}
