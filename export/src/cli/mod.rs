//! The commands of `siskin-export`, one file each.

mod ort;
mod train;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The workshop of Siskin: imports, trains, quantizes and evaluates models.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trains a model on pairs of text.
    Train(train::Arguments),
    /// Makes ONNX Runtime, which training needs, ready.
    Ort(ort::Arguments),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Train(arguments) => train::run(arguments),
        Command::Ort(arguments) => ort::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("siskin-export: {error}");
            ExitCode::FAILURE
        }
    }
}
