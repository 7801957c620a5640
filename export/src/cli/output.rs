//! What the commands that write a model file have in common.

use crate::checkpoint::Checkpoint;
use crate::quantize::{Precision, golden, write_model};
use clap::{Args, ValueEnum};
use siskin::format::write_atomically;
use siskin::{Error, Result};
use std::fs;
use std::path::PathBuf;

/// Golden sentences in a file.
const GOLDEN: usize = 16;

/// Where the model file goes, its type and its card.
#[derive(Args)]
pub struct OutputArguments {
    /// The model file to write; an old one is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Element type of the weight matrices
    #[arg(long = "type", value_enum, default_value = "int8")]
    precision: Type,
    /// Texts, one a line, of which the first 16 become golden sentences: their outputs are kept in the file. Of a line
    /// with a tab, what stands before it
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
    /// Those of [`write_model`] and of [`write_atomically`].
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
        if let Some(path) = &self.golden {
            let texts =
                fs::read_to_string(path).map_err(|e| Error::io(format!("reading {}", path.display()), e))?;
            let sources = texts.lines().filter_map(|line| line.split('\t').next());
            let sources: Vec<&str> = sources.filter(|source| !source.is_empty()).take(GOLDEN).collect();
            checkpoint.golden = Some(golden::record(&checkpoint, precision, &sources)?);
        }
        let bytes = write_model(&checkpoint, precision)?;
        write_atomically(&self.out, &bytes)?;
        println!("{}: {} tensors, {} bytes", self.out.display(), checkpoint.tensors.len(), bytes.len());
        Ok(())
    }
}
