//! Opening the model that a command was given, or one that is shipped.

#![allow(unsafe_code)]

use crate::model::Model;
use crate::{Error, ErrorKind, Result};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Names the model file that is taken where `--model` is not given.
const VARIABLE: &str = "SISKIN_MODEL";

/// Which model, and how it gets into memory.
#[derive(Args)]
pub(super) struct ModelArguments {
    /// The model file; without it that of SISKIN_MODEL, else one that is shipped with this program
    #[arg(short, long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// How the file gets into memory
    #[arg(long, value_enum, default_value = "map", value_name = "HOW")]
    load: Load,
}

/// Which models, and how they get into memory.
#[cfg(feature = "serve")]
#[derive(Args)]
pub(super) struct ModelsArguments {
    /// A model file, may be given more than once; without it that of SISKIN_MODEL, else those that are shipped
    #[arg(short, long, value_name = "FILE")]
    model: Vec<PathBuf>,
    /// How the files get into memory
    #[arg(long, value_enum, default_value = "map", value_name = "HOW")]
    load: Load,
}

#[cfg(feature = "serve")]
impl ModelsArguments {
    /// The model files that were named, else the shipped models of the names `shipped`.
    ///
    /// # Errors
    /// As [`ModelArguments::find`].
    pub fn find(&self, shipped: &[&str]) -> Result<Vec<ModelFile>> {
        let mut paths = self.model.clone();
        if paths.is_empty() {
            paths.extend(std::env::var_os(VARIABLE).map(PathBuf::from));
        }
        if paths.is_empty() {
            paths = shipped.iter().map(|name| find_shipped(name)).collect::<Result<_>>()?;
        }
        Ok(paths.into_iter().map(|path| ModelFile { path, load: self.load }).collect())
    }
}

/// How a model file gets into memory.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Load {
    /// Mapped: starts at once, is shared between processes; the file must not be changed in place while it is used
    Map,
    /// Read and verified by its checksums: slower to start, safe from changes of the file
    Read,
}

/// A model file, and how it gets into memory.
pub(super) struct ModelFile {
    pub path: PathBuf,
    load: Load,
}

impl ModelArguments {
    /// The model file that was named, else the shipped model of the name `shipped`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] if none was named and none is found; the message has the places.
    pub fn find(&self, shipped: &str) -> Result<ModelFile> {
        let named = self.model.clone().or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from));
        let path = match named {
            Some(path) => path,
            None => find_shipped(shipped)?,
        };
        Ok(ModelFile { path, load: self.load })
    }
}

/// The file of a shipped model: beside the program, where packages put data, or in the current folder, which is that of
/// a clone when cargo runs the program.
fn find_shipped(name: &str) -> Result<PathBuf> {
    let program = std::env::current_exe().unwrap_or_default();
    let beside = program.parent().unwrap_or(Path::new(""));
    let folders = [beside.join("models"), beside.join("../share/siskin/models"), PathBuf::from("models")];
    let places = folders.map(|folder| folder.join(name).join(format!("{name}.siskin")));
    if let Some(path) = places.iter().find(|path| path.is_file()) {
        return Ok(path.clone());
    }
    let places: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
    let message = format!(
        "no model was named, and none is at {}: name one with --model or {VARIABLE}",
        places.join(" or ")
    );
    Err(Error::new(ErrorKind::InvalidOption, message))
}

impl ModelFile {
    /// The model.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open(&self) -> Result<Model> {
        self.open_by(self.load)
    }

    /// The model, loaded another way than the arguments say.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_by(&self, load: Load) -> Result<Model> {
        match load {
            // SAFETY: that nobody changes the file in place while the command runs is what the manual asks of the
            // user, who has `--load read` where it cannot be promised. Siskin's own tools replace files by renaming.
            Load::Map => unsafe { Model::map(&self.path) },
            Load::Read => Model::open(&self.path),
        }
    }
}
