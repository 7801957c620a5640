//! `siskin-export ort`: the ONNX Runtime library.

use crate::onnxruntime;
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
    Setup,
}

/// Runs the command.
///
/// # Errors
/// Those of [`onnxruntime::setup`].
pub fn run(arguments: &Arguments) -> Result<()> {
    match arguments.command {
        Command::Setup => {
            let library = onnxruntime::setup()?;
            println!("ONNX Runtime {} is at {}", onnxruntime::VERSION, library.display());
            Ok(())
        }
    }
}
