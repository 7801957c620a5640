//! `siskin-export import`.

use super::output::OutputArguments;
use crate::source::ctranslate2::{self, PlainSegmentation};
use clap::{Args, Subcommand, ValueEnum};
use siskin::Result;
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

/// Runs the command.
///
/// # Errors
/// Those of the importer and of writing the model file.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.source {
        Source::Ctranslate2 { folder, vocabulary, output } => {
            let checkpoint = ctranslate2::import(folder, &vocabulary.options())?;
            output.write(checkpoint)
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
