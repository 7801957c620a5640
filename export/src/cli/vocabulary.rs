//! `siskin-export vocabulary`: a subword vocabulary of text.

use crate::tokenizer::{Algorithm, learn};
use clap::Args;
use siskin::format::write_atomically;
use siskin::{Error, Result};
use std::path::PathBuf;

/// Arguments of `siskin-export vocabulary`.
#[derive(Args)]
pub struct Arguments {
    /// Text to learn from; the columns of a file with tabs are texts of their own
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    text: Vec<PathBuf>,
    /// How pieces are found
    #[arg(long, value_enum, default_value = "unigram")]
    kind: Algorithm,
    /// Pieces, with the 259 that every vocabulary has
    #[arg(long, default_value_t = 8000)]
    size: usize,
    /// Where to write the vocabulary section
    #[arg(long)]
    out: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read or written or is not UTF-8, and those of [`learn`].
pub fn run(arguments: &Arguments) -> Result<()> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|e| Error::io(format!("reading {}", path.display()), e))
    };
    let texts = arguments.text.iter().map(read).collect::<Result<Vec<_>>>()?;
    let lines = texts.iter().flat_map(|text| text.lines()).flat_map(|line| line.split('\t'));
    let section = learn(lines, arguments.kind, arguments.size)?;
    write_atomically(&arguments.out, &section)?;
    println!("{}: {} pieces, {} bytes", arguments.out.display(), arguments.size, section.len());
    Ok(())
}
