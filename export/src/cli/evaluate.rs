//! `siskin-export evaluate`: a model file against references.

use crate::evaluate::{Metric, Row, score};
use crate::train::data::{Pair, read_pairs};
use clap::Args;
use siskin::Result;
use siskin::decode::Strategy;
use siskin::model::Model;
use siskin::pipeline::{TranslateOptions, Translator};
use std::path::PathBuf;
use std::sync::Arc;

/// Arguments of `siskin-export evaluate`.
#[derive(Args)]
#[command(after_help = "Example: the word error rate of pronunciations without stress is 100 minus
  siskin-export evaluate -m g2p-en.siskin --pairs test.tsv --separator ' | ' --metric exact --ignore 012")]
pub struct Arguments {
    /// The model file
    #[arg(short, long)]
    model: PathBuf,
    /// Sources and references: a tab between them, one pair a line
    #[arg(long)]
    pairs: PathBuf,
    /// What stands between the references of a line that has several
    #[arg(long)]
    separator: Option<String>,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    metric: Vec<Metric>,
    /// Characters that are left out of outputs and references before they are compared
    #[arg(long, default_value = "")]
    ignore: String,
    /// Hypotheses that are followed at once; 1 is greedy [default: what the model asks for]
    #[arg(long)]
    beam: Option<usize>,
    /// Only the first lines
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read, or the model cannot run on a source.
pub fn run(arguments: &Arguments) -> Result<()> {
    let (mut pairs, cleaning) = read_pairs(&arguments.pairs, arguments.separator.as_deref())?;
    pairs.truncate(arguments.limit.unwrap_or(usize::MAX));
    let mut translator = Translator::new(Arc::new(Model::open(&arguments.model)?))?;
    let mut options: TranslateOptions = translator.options().clone();
    match arguments.beam {
        Some(1) => options.decode.strategy = Strategy::Greedy,
        Some(size) => options.decode.strategy = Strategy::Beam { size },
        None => {}
    }
    let beam = options.decode.width();
    translator = translator.with_options(options)?;
    let sources: Vec<&str> = pairs.iter().map(|pair| pair.source.as_str()).collect();
    let outputs = translator.translate_batch(&sources)?;
    let row = |(pair, output): (&Pair, Result<siskin::pipeline::Translation>)| {
        let output = output.map_err(|e| e.at(&pair.source))?;
        Ok(Row { hypothesis: output.text(), references: pair.targets.clone() }.without(&arguments.ignore))
    };
    let rows = pairs.iter().zip(outputs).map(row).collect::<Result<Vec<Row>>>()?;
    println!("{}: {cleaning}; {} evaluated with beam {beam}", arguments.pairs.display(), rows.len());
    for &metric in &arguments.metric {
        println!("{metric:?}: {:.2} %", score(metric, &rows));
    }
    Ok(())
}
