//! `siskin-export quantize`: from a trained checkpoint to a model file.

use super::output::OutputArguments;
use crate::train::Snapshot;
use clap::Args;
use siskin::Result;
use std::path::PathBuf;

/// Arguments of `siskin-export quantize`.
#[derive(Args)]
pub struct Arguments {
    /// A checkpoint of `siskin-export train`, such as best.safetensors
    checkpoint: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

/// Runs the command.
///
/// # Errors
/// When the checkpoint cannot be read, a weight is not finite, or the file cannot be written.
pub fn run(arguments: &Arguments) -> Result<()> {
    arguments.output.write(Snapshot::read(&arguments.checkpoint)?.model()?)
}
