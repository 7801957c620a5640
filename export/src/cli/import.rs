//! `siskin-export import`.

use super::golden;
use crate::checkpoint::Checkpoint;
use crate::golden::{read_sources, with_golden};
use crate::quantize::{Precision, write_model};
use crate::source::ctranslate2::{self, PlainSegmentation};
use clap::{Args, Subcommand, ValueEnum};
use siskin::Result;
use siskin::format::write_atomically;
use std::path::PathBuf;

/// What is imported, and how.
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    source: Source,
}

#[derive(Subcommand)]
enum Source {
    /// Import a CTranslate2 model folder (model.bin and vocabularies)
    #[command(after_help = "Examples:
  siskin-export import ctranslate2 aren/ --type int8 --out aren.siskin --name aren --languages \"ar en\"
  siskin-export import ctranslate2 opus-en-de/ --out en-de.siskin \\
      --source-vocabulary source.spm --target-vocabulary target.spm")]
    Ctranslate2 {
        /// The folder with model.bin
        folder: PathBuf,
        #[command(flatten)]
        vocabulary: VocabularyArguments,
        #[command(flatten)]
        output: OutputArguments,
    },
}

#[derive(Args)]
struct VocabularyArguments {
    /// SentencePiece model that cuts source text; without it tokens are words or characters
    #[arg(long, value_name = "SPM")]
    source_vocabulary: Option<PathBuf>,
    /// SentencePiece model that joins target text
    #[arg(long, value_name = "SPM")]
    target_vocabulary: Option<PathBuf>,
    /// What tokens are where there is no SentencePiece model
    #[arg(long, value_enum, default_value = "detect")]
    segmentation: Tokens,
    /// The most tokens of an input or output [default: as many as the model has positions, or 1024]
    #[arg(long, value_name = "N")]
    max_positions: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Tokens {
    /// Characters if every token is one, else words
    Detect,
    /// Between white space
    Words,
    /// One each
    Characters,
}

#[derive(Args)]
struct OutputArguments {
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

/// Runs the command.
///
/// # Errors
/// Those of the importer, of [`write_model`], of [`with_golden`] and of [`write_atomically`].
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.source {
        Source::Ctranslate2 { folder, vocabulary, output } => {
            let checkpoint = ctranslate2::import(folder, &vocabulary.options())?;
            write(checkpoint, output)
        }
    }
}

impl VocabularyArguments {
    fn options(&self) -> ctranslate2::Options {
        ctranslate2::Options {
            source_sentencepiece: self.source_vocabulary.clone(),
            target_sentencepiece: self.target_vocabulary.clone(),
            segmentation: match self.segmentation {
                Tokens::Detect => PlainSegmentation::Detect,
                Tokens::Words => PlainSegmentation::Words,
                Tokens::Characters => PlainSegmentation::Characters,
            },
            max_positions: self.max_positions,
        }
    }
}

fn write(mut checkpoint: Checkpoint, output: &OutputArguments) -> Result<()> {
    let card = [
        ("name", &output.name),
        ("languages", &output.languages),
        ("task", &output.task),
        ("licence", &output.licence),
        ("data", &output.data),
    ];
    for (key, value) in card {
        if let Some(value) = value {
            checkpoint.card.optional(key, value.as_str());
        }
    }
    let precision = match output.precision {
        Type::F32 => Precision::F32,
        Type::F16 => Precision::F16,
        Type::Int8 => Precision::I8,
    };
    let mut bytes = write_model(&checkpoint, precision)?;
    if let Some(path) = &output.golden {
        let sources = read_sources(path, golden::COUNT)?;
        let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
        bytes = with_golden(&bytes, &sources)?;
    }
    write_atomically(&output.out, &bytes)?;
    println!("{}: {} tensors, {} bytes", output.out.display(), checkpoint.tensors.len(), bytes.len());
    Ok(())
}
