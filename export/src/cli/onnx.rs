//! `siskin-export onnx`: from a checkpoint or a model file to graphs for ONNX Runtime.

use crate::onnx::export;
use crate::train::warm_start::read_model;
use clap::Args;
use siskin::Result;
use std::path::PathBuf;

/// Arguments of `siskin-export onnx`.
#[derive(Args)]
#[command(after_help = "Example:
  siskin-export onnx run/best.safetensors --out run/onnx

The folder gets encoder.onnx, decoder_step.onnx and weights.bin, which both read. docs/onnx.md says what goes in and
comes out.")]
pub struct Arguments {
    /// A checkpoint of `siskin-export train`, such as best.safetensors, or a model file
    checkpoint: PathBuf,
    /// The folder to write to; it is made if it is not there, and old files of these names are replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When the model cannot be read, or a file cannot be written.
pub fn run(arguments: &Arguments) -> Result<()> {
    let (spec, tensors) = read_model(&arguments.checkpoint)?;
    export::write(&spec, &tensors, &arguments.out)?;
    for file in [export::ENCODER, export::DECODER_STEP, export::WEIGHTS] {
        println!("{}", arguments.out.join(file).display());
    }
    Ok(())
}
