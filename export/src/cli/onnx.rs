//! `siskin-export onnx`: from a checkpoint or a model file to graphs for ONNX Runtime.

use crate::golden::read_sources;
use crate::onnx::export::{self, Options};
use crate::onnx::inference::{Cache, Caller};
use crate::onnx::products::{Activations, Ranges, Width};
use crate::onnx::weights::Storage;
use crate::quantize::measure_ranges;
use crate::train::engine::Tensors;
use crate::train::warm_start::read_model;
use clap::{Args, ValueEnum};
use siskin::format::{File, Fingerprint};
use siskin::{Error, ErrorKind, Model, Result, Translator};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Arguments of `siskin-export onnx`.
#[derive(Args)]
#[command(after_help = "Examples:
  siskin-export onnx run/best.safetensors --out run/onnx
  siskin-export onnx en-de.siskin --for delegate --weights int8 --out en-de.onnx
  siskin-export onnx en-de.siskin --for delegate --cache fixed --weights int8 --activations int16 --out en-de.onnx
  siskin translate -m en-de.siskin --delegate ort:cpu \"Good morning\"

The folder gets encoder.onnx, decoder_step.onnx and weights.bin, which both read. docs/onnx.md says what goes in and
comes out. A delegate looks for the folder beside the model: en-de.onnx beside en-de.siskin.")]
pub struct Arguments {
    /// A checkpoint of `siskin-export train`, such as best.safetensors, or a model file
    checkpoint: PathBuf,
    /// The folder to write to; it is made if it is not there, and old files of these names are replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Who runs the graphs
    #[arg(long = "for", value_enum, default_value = "programs", value_name = "WHOM")]
    caller: CallerArgument,
    /// How the weights lie in the file
    #[arg(long, value_enum, default_value = "f32")]
    weights: WeightsArgument,
    /// What products compute with: other than f32 is for NPUs, and needs int8 weights
    #[arg(long, value_enum, default_value = "f32")]
    activations: ActivationsArgument,
    /// Sentences to measure quantized activations by, one a line; else they are the model's golden ones
    #[arg(long, value_name = "FILE")]
    calibrate: Option<PathBuf>,
    /// How keys and values of written tokens are kept
    #[arg(long, value_enum, default_value = "growing", value_name = "HOW")]
    cache: CacheArgument,
}

/// Who runs graphs, on the command line.
#[derive(Clone, Copy, ValueEnum)]
pub enum CallerArgument {
    /// Any program: token ids go in
    Programs,
    /// A delegate of `siskin`, with the model file that they are made from: embeddings go in
    Delegate,
}

#[derive(Clone, Copy, ValueEnum)]
enum WeightsArgument {
    /// As they are
    F32,
    /// Rounded to half precision, and widened again before they are used
    F16,
    /// int8 with a scale a row, as in an int8 model file, by QDQ nodes
    Int8,
    /// For a delegate: the same int8 by the operator MatMulNBits
    Nbits8,
    /// For a delegate: int4 with a scale for 32 columns of a row by MatMulNBits, int8 in attention
    Nbits4,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum ActivationsArgument {
    /// What the layers before them give
    F32,
    /// That in 8 bits with one scale for all, by QDQ nodes, in most of the encoder; else in 16
    Int8,
    /// In 16 bits everywhere
    Int16,
}

#[derive(Clone, Copy, ValueEnum)]
enum CacheArgument {
    /// They grow with every step
    Growing,
    /// They have their full length from the start, for accelerators that know fixed shapes only
    Fixed,
}

/// Runs the command.
///
/// # Errors
/// When the model cannot be read, or a file cannot be written.
pub fn run(arguments: &Arguments) -> Result<()> {
    let (spec, tensors) = read_model(&arguments.checkpoint)?;
    let fingerprint = fingerprint(&arguments.checkpoint)?;
    let caller = arguments.caller.of_model(fingerprint)?;
    let cache = match arguments.cache {
        CacheArgument::Growing => Cache::Growing,
        CacheArgument::Fixed => Cache::Fixed,
    };
    let storage = match arguments.weights {
        WeightsArgument::F32 => Storage::F32,
        WeightsArgument::F16 => Storage::F16,
        WeightsArgument::Int8 => Storage::Int8,
        WeightsArgument::Nbits8 => Storage::Blocks8,
        WeightsArgument::Nbits4 => Storage::Blocks4,
    };
    let ranges = arguments.ranges(&tensors)?;
    let activations = match arguments.activations {
        ActivationsArgument::F32 => Activations::F32,
        ActivationsArgument::Int8 => Activations::Quantized(Width::Eight, &ranges),
        ActivationsArgument::Int16 => Activations::Quantized(Width::Sixteen, &ranges),
    };
    let options = Options { caller, cache, storage, activations };
    export::write(&spec, &tensors, fingerprint, options, &arguments.out)?;
    for file in [export::ENCODER, export::DECODER_STEP, export::WEIGHTS] {
        println!("{}", arguments.out.join(file).display());
    }
    Ok(())
}

impl Arguments {
    /// What quantized activations are in the model; nothing where they are not quantized.
    fn ranges(&self, tensors: &Tensors) -> Result<Ranges> {
        if self.activations == ActivationsArgument::F32 {
            return match self.calibrate {
                Some(_) => invalid("--calibrate measures activations: add --activations int8 or int16"),
                None => Ok(Ranges::new()),
            };
        }
        let model = Arc::new(Model::open(&self.checkpoint)?);
        measure_ranges(&model, tensors, &self.sources(&model)?)
    }

    /// The sentences to measure by.
    fn sources(&self, model: &Arc<Model>) -> Result<Vec<Vec<u32>>> {
        let Some(file) = &self.calibrate else {
            let golden = File::parse(model.bytes())?.golden();
            let sources = golden.iter().flat_map(|golden| golden.iter());
            return Ok(sources.map(|sentence| sentence.source.iter().collect()).collect());
        };
        let mut translator = Translator::new(Arc::clone(model))?;
        let lines = read_sources(file, usize::MAX)?;
        lines.iter().map(|line| translator.encode_source(line)).collect()
    }
}

impl CallerArgument {
    /// Whom it means, with the fingerprint of the model.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a delegate without a fingerprint.
    pub fn of_model(self, fingerprint: Option<Fingerprint>) -> Result<Caller> {
        match (self, fingerprint) {
            (Self::Programs, _) => Ok(Caller::Program),
            (Self::Delegate, Some(_)) => Ok(Caller::Delegate),
            (Self::Delegate, None) => {
                invalid("a delegate runs a model file: quantize the checkpoint first, and export that file")
            }
        }
    }
}

/// What a delegate knows a model file by; a checkpoint has none.
///
/// # Errors
/// When the file is damaged.
pub fn fingerprint(path: &Path) -> Result<Option<Fingerprint>> {
    match Model::open(path) {
        Ok(model) => Ok(Some(File::parse(model.bytes())?.fingerprint())),
        Err(error) if error.kind() == ErrorKind::NotAModel => Ok(None),
        Err(error) => Err(error),
    }
}

fn invalid<T>(message: &str) -> Result<T> {
    Err(Error::new(ErrorKind::InvalidOption, message))
}
