//! `siskin-export merge`.

use super::output::OutputArguments;
use crate::merge::merged;
use clap::Args;
use siskin::Result;
use siskin::model::{Adapter, Model};
use std::path::PathBuf;
use std::sync::Arc;

/// Arguments of `siskin-export merge`.
#[derive(Args)]
#[command(after_help = "Example:
  siskin-export merge -m en-de.siskin --adapter me.adapter --golden dev.tsv --out mine.siskin

Golden sentences and a shortlist of the model are not taken over: --golden and `siskin-export shortlist` make new ones.")]
pub struct Arguments {
    /// The model file
    #[arg(short, long, value_name = "FILE")]
    model: PathBuf,
    /// The adapter over it, as `siskin learn` makes it
    #[arg(long, value_name = "FILE")]
    adapter: PathBuf,
    #[command(flatten)]
    output: OutputArguments,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read, the adapter is not over this model, or the new file cannot be written.
pub fn run(arguments: &Arguments) -> Result<()> {
    let adapter = Arc::new(Adapter::open(&arguments.adapter)?);
    let merged = merged(&Model::open(&arguments.model)?, &adapter);
    arguments.output.write(merged.map_err(|error| error.at(arguments.adapter.display()))?)
}
