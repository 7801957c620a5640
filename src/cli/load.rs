//! Opening the model that a command was given.

#![allow(unsafe_code)]

use crate::Result;
use crate::model::Model;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Which model, and how it gets into memory.
#[derive(Args)]
pub(super) struct ModelArguments {
    /// The model file
    #[arg(short, long, value_name = "FILE")]
    pub model: PathBuf,
    /// How the file gets into memory
    #[arg(long, value_enum, default_value = "map", value_name = "HOW")]
    load: Load,
}

/// How a model file gets into memory.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Load {
    /// Mapped: starts at once, is shared between processes; the file must not be changed in place while it is used
    Map,
    /// Read and verified by its checksums: slower to start, safe from changes of the file
    Read,
}

impl ModelArguments {
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
            Load::Map => unsafe { Model::map(&self.model) },
            Load::Read => Model::open(&self.model),
        }
    }
}
