//! `siskin-export screen`: a screen for a model file.

use crate::screen::with_screen;
use clap::Args;
use siskin::format::{File, SectionKind, write_atomically};
use siskin::tensor::AlignedBytes;
use siskin::{Error, Result};
use std::path::PathBuf;

/// Arguments of `siskin-export screen`.
#[derive(Args)]
#[command(after_help = "Example:
  siskin-export screen --model en-de.siskin --out en-de.screened.siskin")]
pub struct Arguments {
    /// The model file, with an output projection of int8
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// The model file to write; an old one is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read or written, or the model can have no screen.
pub fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { model, out } = arguments;
    let bytes =
        std::fs::read(model).map_err(|error| Error::io(format!("cannot read {}", model.display()), error))?;
    let written = with_screen(&bytes).map_err(|error| error.at(model.display()))?;
    write_atomically(out, &written)?;
    let written = AlignedBytes::copy_of(&written);
    let screen = File::parse(written.as_slice())?.section(SectionKind::Screen).map_or(0, <[u8]>::len);
    println!("{}: {} bytes, {screen} of them the screen", out.display(), written.as_slice().len());
    Ok(())
}
