//! The ONNX Runtime library: where it is, how it gets there, and sessions of graphs.
//!
//! A process loads one library and keeps it.

mod training_library;
mod wheel;

use crate::onnx::Graph;
use ::ort::environment::Environment;
use ::ort::session::Session;
use ::ort::session::builder::SessionBuilder;
use siskin::delegate::ort;
use siskin::{Error, ErrorKind, Result};
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Names the library to load instead of the installed one.
pub const PATH_VARIABLE: &str = "ORT_DYLIB_PATH";

/// The builds of ONNX Runtime that `siskin-export ort setup` installs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// A current release, which has no training API.
    Stock,
    /// The last release with the training API, for Linux on x86-64.
    Training,
}

impl Library {
    /// The release.
    pub fn version(self) -> &'static str {
        match self {
            Self::Stock => "1.32.0",
            Self::Training => "1.19.2",
        }
    }

    /// The command that installs it.
    pub fn setup_command(self) -> &'static str {
        match self {
            Self::Stock => "siskin-export ort setup",
            Self::Training => "siskin-export ort setup --training",
        }
    }

    /// The folder of the installed library, under `$XDG_CACHE_HOME/siskin`, else under `~/.cache/siskin`.
    fn folder(self) -> Result<PathBuf> {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
        let cache = cache
            .ok_or_else(|| invalid("neither XDG_CACHE_HOME nor HOME is set: no folder to install to"))?;
        let name = match self {
            Self::Stock => "onnxruntime",
            Self::Training => "onnxruntime-training",
        };
        Ok(cache.join("siskin").join(format!("{name}-{}", self.version())))
    }

    /// Where [`install`](Self::install) puts it.
    ///
    /// # Errors
    /// When the user has no cache folder.
    pub fn installed_path(self) -> Result<PathBuf> {
        Ok(self.folder()?.join("libonnxruntime.so"))
    }

    /// The library to load: the file that `ORT_DYLIB_PATH` names, else the installed one.
    ///
    /// # Errors
    /// When there is none; the message names the command that installs it.
    pub fn path(self) -> Result<PathBuf> {
        if let Some(path) = std::env::var_os(PATH_VARIABLE) {
            return Ok(path.into());
        }
        let path = self.installed_path()?;
        match path.exists() {
            true => Ok(path),
            false => Err(invalid(format!(
                "{} is missing: run `{}`, or set {PATH_VARIABLE} to an ONNX Runtime library",
                path.display(),
                self.setup_command()
            ))),
        }
    }

    /// Downloads the wheel of this release with pip, checks its hash and puts the library in the cache folder.
    ///
    /// # Errors
    /// When pip fails, when the platform is not one whose hash is known, or when the hash differs.
    pub fn install(self) -> Result<PathBuf> {
        let folder = self.folder()?;
        let bytes = match self {
            Self::Stock => wheel::STOCK.library(&folder)?,
            Self::Training if cfg!(all(target_os = "linux", target_arch = "x86_64")) => {
                training_library::make(wheel::TRAINING.library(&folder)?, self.version())?
            }
            Self::Training => {
                return Err(invalid(
                    "there is no build with the training API for this platform; `train --engine ort` needs none",
                ));
            }
        };
        let library = self.installed_path()?;
        let partial = library.with_extension("partial");
        std::fs::write(&partial, bytes)
            .map_err(|e| Error::io(format!("writing {}", partial.display()), e))?;
        std::fs::rename(&partial, &library)
            .map_err(|e| Error::io(format!("naming {}", library.display()), e))?;
        Ok(library)
    }
}

/// The path of the stock library, or of what `ORT_DYLIB_PATH` names.
///
/// # Errors
/// Those of [`Library::path`].
pub fn library_path() -> Result<PathBuf> {
    Library::Stock.path()
}

/// Loads the library at `path`; a process has one library and one environment, which delegates use too.
///
/// # Errors
/// When it is missing, is no ONNX Runtime that this crate can use, or when another one was loaded before.
pub fn load(path: &Path) -> Result<&'static Environment> {
    Ok(&ort::load(Some(path))?.environment)
}

/// The environment of the library that was loaded, or of that at [`library_path`].
///
/// # Errors
/// Those of [`load`].
pub fn environment() -> Result<&'static Environment> {
    match ort::Library::loaded() {
        Some(library) => Ok(&library.environment),
        None => load(&library_path()?),
    }
}

/// Options of sessions on `threads` threads whose results depend on nothing but their inputs.
///
/// # Errors
/// When ONNX Runtime refuses them.
pub fn session_builder(environment: &Environment, threads: usize) -> Result<SessionBuilder> {
    let making = |e: &dyn Display| failed("making a session", e);
    let builder = Session::builder(environment).map_err(|e| making(&e))?;
    let builder = builder.with_intra_threads(threads).map_err(|e| making(&e))?;
    builder.with_deterministic_compute(true).map_err(|e| making(&e))
}

/// A session that runs `graph`, with the options of [`session_builder`].
///
/// # Errors
/// When ONNX Runtime refuses the graph.
pub fn session(environment: &Environment, graph: &Graph, threads: usize) -> Result<Session> {
    let mut builder = session_builder(environment, threads)?;
    builder.commit_from_memory(&graph.to_onnx()).map_err(|e| failed("loading the graph", &e))
}

/// What ONNX Runtime answered to `doing`.
pub fn failed(doing: &str, error: &dyn Display) -> Error {
    Error::new(ErrorKind::Schema, format!("{doing}: ONNX Runtime answered: {error}"))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}
