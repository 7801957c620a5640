//! `siskin-export shortlist`: a lexical shortlist for a model file.

use crate::evaluate::pairs;
use crate::shortlist::{Coverage, Options, Pair, Tokenizer, coverage, learn, read_bergamot, with_shortlist};
use clap::{Args, ValueEnum};
use siskin::format::{Shortlist, write_atomically};
use siskin::model::{Model, ShortlistMode};
use siskin::tensor::AlignedBytes;
use siskin::{Error, Result};
use std::path::{Path, PathBuf};

/// Without a file of held-out pairs one pair of so many is held out.
const HELD_OUT: usize = 100;

/// Arguments of `siskin-export shortlist`.
#[derive(Args)]
#[command(after_help = "Examples:
  siskin-export shortlist --model en-de.siskin --pairs train.tsv --dev dev.tsv --out en-de.listed.siskin
  siskin-export shortlist --model en-es.siskin --bergamot lex.50.50.enes.s2t.bin --out en-es.siskin --use on
  siskin translate -m en-de.listed.siskin --shortlist on \"Good morning\"")]
pub struct Arguments {
    /// The model file
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    #[command(flatten)]
    lists: ListArguments,
    /// Pairs by which coverage is measured [default: every hundredth of --pairs, which is then not learnt from]
    #[arg(long, value_name = "FILE")]
    dev: Option<PathBuf>,
    /// The model file to write; an old one is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Tokens listed for a source token: its most probable translations
    #[arg(long, value_name = "K", default_value_t = Options::default().best, conflicts_with = "bergamot")]
    best: usize,
    /// Tokens that are always listed: the most frequent ones
    #[arg(long, value_name = "N", default_value_t = Options::default().first, conflicts_with = "bergamot")]
    first: usize,
    /// Rounds of learning
    #[arg(long, value_name = "N", default_value_t = Options::default().iterations, conflicts_with = "bergamot")]
    iterations: usize,
    /// How `siskin` is to use the shortlist unless it is told otherwise [default: as the file says, at first not at all]
    #[arg(long = "use", value_enum, value_name = "HOW")]
    mode: Option<Use>,
}

/// Where the lists come from.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct ListArguments {
    /// Learn them from pairs: lines of source, TAB, target
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
    /// Read them from a file such as lex.50.50.enes.s2t.bin
    #[arg(long, value_name = "FILE")]
    bergamot: Option<PathBuf>,
}

/// How a shortlist is used.
#[derive(Clone, Copy, ValueEnum)]
pub enum Use {
    /// Not at all
    Off,
    /// Score listed tokens only
    On,
    /// Score listed tokens, and search again where a token that is not listed was more probable
    Verify,
}

impl Use {
    /// The same for the library.
    pub fn mode(self) -> ShortlistMode {
        match self {
            Self::Off => ShortlistMode::Off,
            Self::On => ShortlistMode::On,
            Self::Verify => ShortlistMode::Verify,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read or written, or the lists do not fit the model.
pub fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { out, best, first, iterations, .. } = arguments;
    let bytes = read(&arguments.model)?;
    let at_model = |error: Error| error.at(arguments.model.display());
    let model = Model::from_bytes(AlignedBytes::copy_of(&bytes)).map_err(at_model)?;
    let mut held_out = match &arguments.dev {
        Some(path) => read_pairs(&model, path)?,
        None => Vec::new(),
    };
    let section = match (&arguments.lists.pairs, &arguments.lists.bergamot) {
        (Some(path), _) => {
            let mut pairs = read_pairs(&model, path)?;
            if arguments.dev.is_none() {
                (pairs, held_out) = hold_out(pairs);
            }
            learn(&model, &pairs, Options { first: *first, best: *best, iterations: *iterations })?
        }
        (None, Some(path)) => {
            let spec = model.spec();
            read_bergamot(&read(path)?, spec.source_vocabulary, spec.target_vocabulary, spec.end)
                .map_err(|error| error.at(path.display()))?
        }
        (None, None) => unreachable!("one of the two is required"),
    };
    let written = with_shortlist(&bytes, &section, arguments.mode.map(Use::mode))?;
    write_atomically(out, &written)?;
    let shortlist = Shortlist::parse(&section)?;
    let (always, lists) = (shortlist.always().len(), shortlist.source_vocabulary());
    let mean = shortlist.len() as f64 / lists as f64;
    println!("{}: {} bytes, {} of them the shortlist", out.display(), written.len(), section.len());
    println!("{always} tokens always listed; {lists} lists of {mean:.1} tokens more");
    if !held_out.is_empty() {
        print_coverage(&coverage(&shortlist, &held_out)?, shortlist.target_vocabulary());
    }
    Ok(())
}

fn read_pairs(model: &Model, path: &Path) -> Result<Vec<Pair>> {
    let mut tokenizer = Tokenizer::new(model)?;
    let pairs = pairs::parse(&read(path)?, None).map_err(|error| error.at(path.display()))?;
    Ok(tokenizer.pairs(&pairs))
}

/// The pairs to learn from, and every hundredth, which is held out.
fn hold_out(pairs: Vec<Pair>) -> (Vec<Pair>, Vec<Pair>) {
    let (mut kept, mut held_out) = (Vec::new(), Vec::new());
    for (i, pair) in pairs.into_iter().enumerate() {
        if i % HELD_OUT == HELD_OUT - 1 { held_out.push(pair) } else { kept.push(pair) }
    }
    (kept, held_out)
}

fn print_coverage(coverage: &Coverage, vocabulary: usize) {
    let Coverage { sentences, whole, tokens, listed, list_tokens } = *coverage;
    let percent = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    let list = list_tokens as f64 / sentences as f64;
    println!(
        "{sentences} held-out pairs: {:.2} % of the target tokens are listed, {:.1} % of the targets wholly; \
         {list:.0} tokens listed for a sentence, {:.1} % of the vocabulary",
        percent(listed, tokens),
        percent(whole, sentences),
        100.0 * list / vocabulary as f64
    );
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::io(format!("cannot read {}", path.display()), error))
}
