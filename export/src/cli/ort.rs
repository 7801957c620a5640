//! `siskin-export ort`: the ONNX Runtime library.

use crate::onnxruntime::Library;
use clap::{Args, Subcommand};
use siskin::Result;

/// Arguments of `siskin-export ort`.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Downloads the library with pip, checks its hash and puts it in the user's cache folder.
    Setup {
        /// The last release with the training API, which `train --engine ort-training` needs (Linux, x86-64)
        #[arg(long)]
        training: bool,
    },
}

/// Runs the command.
///
/// # Errors
/// Those of [`Library::install`].
pub fn run(arguments: &Arguments) -> Result<()> {
    let Command::Setup { training } = arguments.command;
    let library = if training { Library::Training } else { Library::Stock };
    let path = library.install()?;
    println!("ONNX Runtime {} is at {}", library.version(), path.display());
    Ok(())
}
