//! `siskin-export golden`.

use crate::golden::{read_sources, with_golden};
use clap::Args;
use siskin::format::write_atomically;
use siskin::{Error, Result};
use std::path::PathBuf;

/// Golden sentences that a model gets unless another number is asked for.
pub const COUNT: usize = 50;

/// Which model, and sentences of what.
#[derive(Args)]
#[command(after_help = "Examples:
  siskin-export golden en-de.siskin --input test.en
  siskin doctor -m en-de.siskin")]
pub struct Arguments {
    /// The model file; it is replaced by one with golden sentences
    file: PathBuf,
    /// Sources, one a line; of pairs only the source is taken
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// How many of the lines to take, spread over the whole file
    #[arg(long, value_name = "N", default_value_t = COUNT)]
    count: usize,
}

/// Runs the command.
///
/// # Errors
/// Those of [`read_sources`], [`with_golden`] and [`write_atomically`]; the model file is then as it was.
pub fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { file, input, count } = arguments;
    let sources = read_sources(input, *count)?;
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let bytes =
        std::fs::read(file).map_err(|error| Error::io(format!("cannot read {}", file.display()), error))?;
    let bytes = with_golden(&bytes, &sources).map_err(|error| error.at(file.display()))?;
    write_atomically(file, &bytes)?;
    println!("{}: {} golden sentences, {} bytes", file.display(), sources.len(), bytes.len());
    Ok(())
}
