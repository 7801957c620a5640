//! The `siskin-export` command.

use clap::{Parser, Subcommand};
use siskin_export::cli::{
    evaluate, golden, import, merge, onnx, ort, quantize, report, screen, shortlist, tflite, train,
    vocabulary,
};
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
    /// Make a model file of a model and an adapter over it
    Merge(merge::Arguments),
    /// Put golden sentences into a model file, by which `siskin doctor` checks a machine
    Golden(golden::Arguments),
    /// Learn a subword vocabulary from text
    Vocabulary(vocabulary::Arguments),
    /// Train a model on pairs of text
    Train(train::Arguments),
    /// Write the page of a run: curves, samples, recipe
    Report(report::Arguments),
    /// Make a model file of a trained checkpoint
    Quantize(quantize::Arguments),
    /// Make graphs for ONNX Runtime of a checkpoint or a model file
    Onnx(onnx::Arguments),
    /// Make graphs for TensorFlow Lite of a checkpoint or a model file
    Tflite(tflite::Arguments),
    /// Put a lexical shortlist into a model file, for faster decoding
    Shortlist(shortlist::Arguments),
    /// Put a screen into a model file: greedy search then reads half of the output projection, and finds the same
    Screen(screen::Arguments),
    /// Measure a model, or outputs, against references
    Evaluate(evaluate::Arguments),
    /// Make ONNX Runtime, which training needs, ready
    Ort(ort::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Import(arguments) => import::run(&arguments),
        Command::Merge(arguments) => merge::run(&arguments),
        Command::Golden(arguments) => golden::run(&arguments),
        Command::Vocabulary(arguments) => vocabulary::run(&arguments),
        Command::Train(arguments) => train::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Quantize(arguments) => quantize::run(&arguments),
        Command::Onnx(arguments) => onnx::run(&arguments),
        Command::Tflite(arguments) => tflite::run(&arguments),
        Command::Shortlist(arguments) => shortlist::run(&arguments),
        Command::Screen(arguments) => screen::run(&arguments),
        Command::Evaluate(arguments) => evaluate::run(&arguments),
        Command::Ort(arguments) => ort::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
