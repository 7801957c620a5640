//! What the commands that write a model file have in common.

use super::golden;
use crate::checkpoint::Checkpoint;
use crate::golden::{read_sources, with_golden};
use crate::quantize::{Precision, write_model};
use clap::{Args, ValueEnum};
use siskin::Result;
use siskin::format::write_atomically;
use std::path::PathBuf;

/// Where the model file goes, its type and its card.
#[derive(Args)]
pub struct OutputArguments {
    /// The model file to write; an old one is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Element type of the weight matrices
    #[arg(long = "type", value_enum, default_value = "int8")]
    precision: Type,
    /// Sources, one a line, of which some become golden sentences (see `siskin-export golden`)
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,
    /// For the card: the model's name
    #[arg(long)]
    name: Option<String>,
    /// For the card: languages, source first
    #[arg(long)]
    languages: Option<String>,
    /// For the card: what the model does, such as translation
    #[arg(long)]
    task: Option<String>,
    /// For the card: the licence of the weights
    #[arg(long)]
    licence: Option<String>,
    /// For the card: what it was trained on
    #[arg(long)]
    data: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Type {
    /// 32-bit floating point
    F32,
    /// 16-bit floating point
    F16,
    /// 8-bit integers with a scale a row
    Int8,
}

impl OutputArguments {
    /// Writes the model file of `checkpoint` and says so.
    ///
    /// # Errors
    /// Those of [`write_model`], of [`with_golden`] and of [`write_atomically`].
    pub fn write(&self, mut checkpoint: Checkpoint) -> Result<()> {
        let card = [
            ("name", &self.name),
            ("languages", &self.languages),
            ("task", &self.task),
            ("licence", &self.licence),
            ("data", &self.data),
        ];
        for (key, value) in card {
            if let Some(value) = value {
                checkpoint.card.optional(key, value.as_str());
            }
        }
        let precision = match self.precision {
            Type::F32 => Precision::F32,
            Type::F16 => Precision::F16,
            Type::Int8 => Precision::I8,
        };
        let mut bytes = write_model(&checkpoint, precision)?;
        if let Some(path) = &self.golden {
            let sources = read_sources(path, golden::COUNT)?;
            let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
            bytes = with_golden(&bytes, &sources)?;
        }
        write_atomically(&self.out, &bytes)?;
        println!("{}: {} tensors, {} bytes", self.out.display(), checkpoint.tensors.len(), bytes.len());
        Ok(())
    }
}
