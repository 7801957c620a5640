//! `siskin-export tflite`: from a checkpoint or a model file to graphs for TensorFlow Lite and LiteRT.

use super::onnx::{CallerArgument, fingerprint};
use crate::tflite::builtin::Weights;
use crate::tflite::export::{self, Options, Sizes};
use crate::train::warm_start::read_model;
use clap::{Args, ValueEnum};
use siskin::Result;
use std::path::PathBuf;

/// The longest source and output by default, where the model has positions for them.
const LENGTH: usize = 64;

/// Arguments of `siskin-export tflite`.
#[derive(Args)]
#[command(after_help = "Examples:
  siskin-export tflite run/best.safetensors --out run/tflite
  siskin-export tflite en-de.siskin --for delegate --beam 4 --out en-de.tflite

The folder gets encoder.tflite, decoder_step.tflite and model.txt, which says what model they are of. docs/tflite.md says
what goes in and comes out. A delegate looks for the folder beside the model: en-de.tflite beside en-de.siskin.")]
pub struct Arguments {
    /// A checkpoint of `siskin-export train`, such as best.safetensors, or a model file
    checkpoint: PathBuf,
    /// The folder to write to; it is made if it is not there, and old files of these names are replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Who runs the graphs
    #[arg(long = "for", value_enum, default_value = "programs", value_name = "WHOM")]
    caller: CallerArgument,
    /// How the weights lie in the files
    #[arg(long, value_enum, default_value = "int8")]
    weights: WeightsArgument,
    /// Sentences at once
    #[arg(long, default_value_t = 1, value_name = "N")]
    batch: usize,
    /// Hypotheses of each sentence
    #[arg(long, default_value_t = 1, value_name = "N")]
    beam: usize,
    /// Tokens of the longest source [default: 64, or as many positions as the model has]
    #[arg(long, value_name = "N")]
    source_length: Option<usize>,
    /// Tokens of the longest output [default: 64, or as many positions as the model has]
    #[arg(long, value_name = "N")]
    target_length: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum WeightsArgument {
    /// int8 with a scale a row, as in an int8 model file
    Int8,
    /// int8 with a scale a matrix, for TensorFlow Lite 2.9 and before, which know no scales of rows
    Int8PerTensor,
    /// As they are
    F32,
}

/// Runs the command.
///
/// # Errors
/// When the model cannot be read, a size is more than it has positions for, or a file cannot be written.
pub fn run(arguments: &Arguments) -> Result<()> {
    let (spec, tensors) = read_model(&arguments.checkpoint)?;
    let weights = match arguments.weights {
        WeightsArgument::Int8 => Weights::PerChannel,
        WeightsArgument::Int8PerTensor => Weights::PerTensor,
        WeightsArgument::F32 => Weights::F32,
    };
    let length = |asked: Option<usize>| asked.unwrap_or(LENGTH.min(spec.max_positions));
    let sizes = Sizes {
        batch: arguments.batch,
        beam: arguments.beam,
        source_length: length(arguments.source_length),
        target_length: length(arguments.target_length),
    };
    let fingerprint = fingerprint(&arguments.checkpoint)?;
    let caller = arguments.caller.of_model(fingerprint)?;
    export::write(&spec, &tensors, fingerprint, Options { caller, weights, sizes }, &arguments.out)?;
    for file in [export::ENCODER, export::DECODER_STEP, export::FACTS] {
        println!("{}", arguments.out.join(file).display());
    }
    Ok(())
}
