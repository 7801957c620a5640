//! The `siskin` command: one module for each of its commands, and what they share.

mod bench;
mod delegate;
mod delegate_choice;
mod doctor;
pub mod inspect;
mod json;
mod learn;
mod lines;
mod load;
mod machine;
mod progress;
mod render;
mod resources;
mod search;
#[cfg(feature = "serve")]
mod serve;
mod translate;
mod workshop;

use crate::{Error, ErrorKind};
use clap::{Parser, Subcommand};
use std::error::Error as _;
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use translate::Task;

/// Runs encoder-decoder Transformers on this machine, offline, from one file
#[derive(Parser)]
#[command(name = "siskin", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Commands that make models (import, train, golden ...) are those of siskin-export, which is looked for beside
this program and on the PATH.

Exit status: 0 if all went well, 1 if something failed, 2 for a wrong command line or option.

Examples:
  siskin translate \"Good morning\"
  siskin summarize < abstracts.txt
  siskin translate -m en-de.siskin --beam 4 < book.txt > buch.txt
  siskin inspect en-de.siskin --verify
  siskin doctor -m en-de.siskin";

#[derive(Subcommand)]
enum Command {
    /// Translate lines of text, or do whatever else the model does with them
    Translate(Box<translate::Arguments>),
    /// Summarize documents, one a line: as translate, but a document is read as a whole, or as much of it as fits
    Summarize(Box<translate::Arguments>),
    /// Teach a model corrections, which are kept in an adapter file
    Learn(Box<learn::Arguments>),
    /// Measure how fast a model runs here
    Bench(Box<bench::Arguments>),
    /// Check that a model gives on this machine what it must give
    Doctor(doctor::Arguments),
    /// Show what is in a model file
    Inspect(inspect::Arguments),
    /// Answer requests of other programs over HTTP
    #[cfg(feature = "serve")]
    Serve(Box<serve::Arguments>),
    #[command(external_subcommand)]
    Workshop(Vec<OsString>),
}

/// Runs the command line; the exit status is as `docs/cli.md` says.
pub fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Translate(arguments) => translate::run(&arguments, Task::Any),
        Command::Summarize(arguments) => translate::run(&arguments, Task::Summarization),
        Command::Learn(arguments) => learn::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        #[cfg(feature = "serve")]
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Workshop(command) => workshop::run(&command),
    };
    match result {
        Ok(status) => status,
        // Whoever read the output wants no more of it.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("siskin: {error}");
            ExitCode::from(if error.kind() == ErrorKind::InvalidOption { 2 } else { 1 })
        }
    }
}

fn is_broken_pipe(error: &Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|source| source.kind() == io::ErrorKind::BrokenPipe)
}
