//! Which engine trains.

use super::adamw::AdamW;
use super::engine::{Engine, Tensors};
use super::{OrtEngine, OrtTrainingEngine};
use crate::onnx::transformer::Regularization;
use crate::onnxruntime::{self, Library, PATH_VARIABLE};
use siskin::model::ModelSpec;
use siskin::{Error, ErrorKind, Result};
use std::path::PathBuf;

/// What a user may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum EngineChoice {
    /// ort-training where the library has the training API, else ort
    Auto,
    /// ONNX Runtime's training API (release 1.19, Linux on x86-64)
    OrtTraining,
    /// Gradients by any ONNX Runtime, the optimizer in Rust
    Ort,
}

impl EngineChoice {
    /// Loads the library and makes the engine. Returns it with a line that says which it is and why.
    ///
    /// # Errors
    /// When the library is missing, cannot be loaded or lacks what the engine needs, and those of the engines.
    pub fn start(
        self,
        spec: &ModelSpec,
        regularization: Regularization,
        optimizer: AdamW,
        threads: usize,
        weights: &Tensors,
    ) -> Result<(Box<dyn Engine>, String)> {
        let path = self.library()?;
        onnxruntime::load(&path)?;
        let has_training_api = ort::training::training_api().is_ok();
        let trains = match self {
            Self::Auto => has_training_api,
            Self::OrtTraining if !has_training_api => return Err(without_training_api(&path)),
            Self::OrtTraining => true,
            Self::Ort => false,
        };
        let has = if has_training_api { "has" } else { "lacks" };
        let name = if trains { "ort-training" } else { "ort" };
        let reason = if self == Self::Auto { "" } else { " as --engine says;" };
        let line = format!("{name}:{reason} {} {has} the training API", path.display());
        let engine: Box<dyn Engine> = match trains {
            true => Box::new(OrtTrainingEngine::new(spec, regularization, optimizer, threads, weights)?),
            false => Box::new(OrtEngine::new(spec, regularization, optimizer, threads, weights)?),
        };
        Ok((engine, line))
    }

    fn library(self) -> Result<PathBuf> {
        match self {
            Self::Auto if std::env::var_os(PATH_VARIABLE).is_none() => {
                let training = Library::Training.installed_path()?;
                if training.exists() { Ok(training) } else { Library::Stock.path() }
            }
            Self::Auto | Self::Ort => Library::Stock.path(),
            Self::OrtTraining => Library::Training.path(),
        }
    }
}

fn without_training_api(path: &std::path::Path) -> Error {
    let (library, info) = (Library::Training, ort::info());
    Error::new(
        ErrorKind::InvalidOption,
        format!(
            "{} ({info}) has no training API, and `--engine ort-training` needs ONNX Runtime {}: run `{}` and unset \
             {PATH_VARIABLE}, or train with `--engine ort`",
            path.display(),
            library.version(),
            library.setup_command()
        ),
    )
}
