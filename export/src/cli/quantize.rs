//! `siskin-export quantize`: from a trained checkpoint to a model file.

use super::output::OutputArguments;
use crate::train::Snapshot;
use clap::Args;
use siskin::Result;
use std::path::PathBuf;

/// Arguments of `siskin-export quantize`.
#[derive(Args)]
#[command(after_help = "Examples:
  siskin-export quantize run/best.safetensors --golden dev.tsv --card en-de.toml --out en-de.siskin
  siskin-export quantize run/best.safetensors --scores test.tsv --metric bleu,chrf --out en-de.siskin
  siskin-export quantize run/best.safetensors --calibrate dev.tsv --budget 3.5MB --out en-de.siskin
  siskin inspect en-de.siskin")]
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
