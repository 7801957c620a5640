//! The `siskin-export` command.

use clap::{Parser, Subcommand};
use siskin_export::cli::{evaluate, import};
use std::process::ExitCode;

/// The workshop of Siskin: makes the model files that `siskin` runs.
///
/// Exit status: 0 if it worked, 1 if it did not (the reason is on standard error), 2 for a wrong command line.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a model file of another program's model
    Import(import::Arguments),
    /// Measure a model, or outputs, against references
    Evaluate(evaluate::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Import(arguments) => import::run(&arguments),
        Command::Evaluate(arguments) => evaluate::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
