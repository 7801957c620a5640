//! What the commands that write a model file have in common.

use super::card::CardArguments;
use super::golden;
use super::measure::MeasureArguments;
use crate::checkpoint::Checkpoint;
use crate::golden::{read_sources, with_golden};
use crate::quantize::Precision;
use clap::{Args, ValueEnum};
use siskin::Result;
use siskin::format::write_atomically;
use std::path::PathBuf;

/// Where the model file goes, its type, its receipt and its card.
#[derive(Args)]
pub struct OutputArguments {
    /// The model file to write; an old one is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Element type of the weight matrices
    #[arg(long = "type", value_enum, default_value = "int8")]
    precision: Type,
    /// Sources, one a line, or pairs, of which some become golden sentences (see `siskin-export golden`)
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,
    #[command(flatten)]
    measure: MeasureArguments,
    #[command(flatten)]
    card: CardArguments,
}

#[derive(Clone, Copy, ValueEnum)]
enum Type {
    /// 32-bit floating point
    F32,
    /// 16-bit floating point
    F16,
    /// 8-bit integers with a scale a row
    Int8,
    /// 4-bit integers in embeddings, output and feed-forward blocks, and 8-bit ones elsewhere
    Int4,
    /// 4-bit integers in all matrices
    Int4All,
}

impl OutputArguments {
    /// Writes the model file of `checkpoint` and says so.
    ///
    /// # Errors
    /// Those of [`MeasureArguments::make`], of the card, of [`with_golden`] and of [`write_atomically`].
    pub fn write(&self, mut checkpoint: Checkpoint) -> Result<()> {
        self.card.apply(&mut checkpoint.card)?;
        let precision = match self.precision {
            Type::F32 => Precision::F32,
            Type::F16 => Precision::F16,
            Type::Int8 => Precision::I8,
            Type::Int4 => Precision::I4,
            Type::Int4All => Precision::I4All,
        };
        let sources = match &self.golden {
            Some(path) => read_sources(path, golden::COUNT)?,
            None => Vec::new(),
        };
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        let bytes = self.measure.make(&checkpoint, precision, |bytes| match sources.is_empty() {
            true => Ok(bytes),
            false => with_golden(&bytes, &sources),
        })?;
        write_atomically(&self.out, &bytes)?;
        println!("{}: {} tensors, {} bytes", self.out.display(), checkpoint.tensors.len(), bytes.len());
        Ok(())
    }
}
