//! `siskin-export evaluate`: scores of a model, or of outputs that are there already.

use super::metrics::{MetricArguments, PairsFile, read, warn_of_refused};
use super::shortlist::Use;
use crate::evaluate::{Score, outputs, pairs};
use clap::Args;
use serde_json::{Map, Value, json};
use siskin::decode::Strategy;
use siskin::format::write_atomically;
use siskin::model::Adapter;
use siskin::pipeline::Recall;
use siskin::{Error, ErrorKind, Model, Result, TranslateOptions, Translator};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const EXAMPLES: &str = "\
Examples:
  siskin-export evaluate -m en-de.siskin --pairs test.tsv --metric bleu,chrf,ter --beam 4 --output hyp.txt
  siskin-export evaluate --hypotheses hyp.txt --pairs test.tsv --metric bleu --tokenize intl --width 4
  xzcat test.jsonl.xz | siskin-export evaluate -m en-de.siskin --pairs - --json
  siskin-export evaluate -m g2p.siskin --pairs test.tsv --reference-separator ' | ' --ignore 012 --metric ser

Pairs are lines of source, TAB, reference and further references behind TABs, or JSON objects such as
{\"source\": \"...\", \"refs\": [\"...\", \"...\"]}.";

/// Arguments of `siskin-export evaluate`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    outputs: OutputsArguments,
    /// An adapter over the model; its corrections answer nothing here
    #[arg(long, value_name = "FILE", conflicts_with = "hypotheses")]
    adapter: Option<PathBuf>,
    /// Sources and references; `-` is the standard input
    #[arg(long, value_name = "FILE")]
    pairs: PathBuf,
    /// What stands between references in one column, such as ' | '
    #[arg(long, value_name = "TEXT")]
    reference_separator: Option<String>,
    /// Only the first N pairs
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Write the outputs to this file, one a line
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Decimals of the scores
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=15))]
    width: u8,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    metrics: MetricArguments,
    #[command(flatten)]
    search: SearchArguments,
}

/// Where the outputs come from.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct OutputsArguments {
    /// The model file whose outputs are scored
    #[arg(short, long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Score the lines of this file instead
    #[arg(long, value_name = "FILE")]
    hypotheses: Option<PathBuf>,
}

#[derive(Args)]
#[command(next_help_heading = "Search (what is not given is as the model file says)")]
struct SearchArguments {
    /// Which task or language is asked for, of a model with several, such as de
    #[arg(long, value_name = "TASK", conflicts_with = "hypotheses")]
    to: Option<String>,
    /// Follow N hypotheses, 1 to 16; 1 is greedy search
    #[arg(long, value_name = "N", conflicts_with = "hypotheses")]
    beam: Option<usize>,
    /// Tokens after which an output ends in any case
    #[arg(long, value_name = "N", conflicts_with = "hypotheses")]
    max_length: Option<usize>,
    /// Exponent of the length that divides a log-probability, 0 to 10
    #[arg(long, value_name = "X", conflicts_with = "hypotheses")]
    length_penalty: Option<f32>,
    /// How the shortlist of the model file is used
    #[arg(long, value_enum, value_name = "HOW", conflicts_with = "hypotheses")]
    shortlist: Option<Use>,
    /// Threads; they change speed, never a score
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Texts that a thread computes together, at most; it changes speed and memory, never a score
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
}

/// Outputs, and what else is needed to make them again.
struct Outputs {
    hypotheses: Vec<String>,
    settings: Map<String, Value>,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read or written, the hypotheses are not as many as the pairs, or the model cannot run. A source
/// that the model refuses counts as an empty output, which is reported.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut file = PairsFile::read(&arguments.pairs, arguments.reference_separator.as_deref())?;
    file.pairs.truncate(arguments.limit.unwrap_or(usize::MAX));
    let mut outputs = match (&arguments.outputs.hypotheses, &arguments.outputs.model) {
        (Some(path), _) => read_hypotheses(path, arguments.limit)?,
        (None, Some(path)) => {
            translate(path, arguments.adapter.as_deref(), &file.sources(), &arguments.search)?
        }
        (None, None) => return Err(invalid("name a --model or a file of --hypotheses")),
    };
    if outputs.hypotheses.len() != file.pairs.len() {
        let counts = format!("{} hypotheses for {} pairs", outputs.hypotheses.len(), file.pairs.len());
        return Err(invalid(format!("{counts}: there must be one for each")));
    }
    if let Some(path) = &arguments.output {
        write_atomically(path, (outputs.hypotheses.join("\n") + "\n").as_bytes())?;
    }
    outputs.settings.insert("pairs".into(), file.path.display().to_string().into());
    outputs.settings.insert("rows".into(), file.pairs.len().into());
    arguments.print(&arguments.metrics.scores(&file.pairs, &outputs.hypotheses), outputs.settings);
    Ok(())
}

fn read_hypotheses(path: &Path, limit: Option<usize>) -> Result<Outputs> {
    let bytes = read(path)?;
    let lines = pairs::text_lines(&bytes).map_err(|error| error.at(path.display()))?;
    let hypotheses = lines.into_iter().take(limit.unwrap_or(usize::MAX)).map(str::to_owned).collect();
    let settings = Map::from_iter([("hypotheses".to_owned(), path.display().to_string().into())]);
    Ok(Outputs { hypotheses, settings })
}

fn translate(
    path: &Path,
    adapter: Option<&Path>,
    sources: &[&str],
    search: &SearchArguments,
) -> Result<Outputs> {
    let mut translator = Translator::new(Arc::new(Model::open(path)?))?;
    if let Some(path) = adapter {
        let adapted = translator.with_adapter(Arc::new(Adapter::open(path)?));
        translator = adapted.map_err(|error| error.at(path.display()))?;
    }
    let mut options = translator.options().clone();
    search.apply(&mut options);
    if let Some(task) = &search.to {
        options.task = translator.task(task).map_err(|e| e.at("--to"))?;
    }
    translator = translator.with_options(options)?;
    let found = outputs(&mut translator, sources)?;
    warn_of_refused(&found.refused);
    let decode = &translator.options().decode;
    let settings = json!({
        "model": path.display().to_string(),
        "beam": decode.width(),
        "max_length": decode.max_length,
        "length_penalty": decode.length_penalty,
        "shortlist": format!("{:?}", translator.options().shortlist).to_lowercase(),
        "refused": found.refused.len(),
    });
    let Value::Object(mut settings) = settings else { unreachable!("the literal above is an object") };
    settings.extend(adapter.map(|path| ("adapter".to_owned(), path.display().to_string().into())));
    settings.extend(search.to.iter().map(|task| ("to".to_owned(), task.as_str().into())));
    Ok(Outputs { hypotheses: found.hypotheses, settings })
}

impl SearchArguments {
    /// Sets what was asked for.
    fn apply(&self, options: &mut TranslateOptions) {
        match self.beam {
            Some(1) => options.decode.strategy = Strategy::Greedy,
            Some(size) => options.decode.strategy = Strategy::Beam { size },
            None => {}
        }
        options.decode.max_length = self.max_length.unwrap_or(options.decode.max_length);
        options.decode.length_penalty = self.length_penalty.unwrap_or(options.decode.length_penalty);
        options.shortlist = self.shortlist.map_or(options.shortlist, Use::mode);
        options.recall = Recall::Terms;
        options.threads = self.threads;
        options.batch = self.batch.unwrap_or(options.batch);
    }
}

impl Arguments {
    /// Prints the settings and then a line for each score, or all of it as JSON.
    fn print(&self, scores: &[Score], settings: Map<String, Value>) {
        let width = usize::from(self.width);
        if self.json {
            let scores: Vec<Value> = scores.iter().map(|score| as_json(score, width)).collect();
            println!("{:#}", json!({ "settings": settings, "scores": scores }));
            return;
        }
        let settings: Vec<String> = settings.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        println!("{}", settings.join(", "));
        for score in scores {
            println!("{}", score.line(width));
        }
    }
}

/// The score under sacrebleu's names, rounded as it is printed.
fn as_json(score: &Score, width: usize) -> Value {
    let value: f64 = format!("{:.width$}", score.value).parse().unwrap_or(score.value);
    let mut object = json!({ "name": score.name, "score": value, "signature": score.signature });
    if !score.details.is_empty() {
        object["verbose_score"] = score.details.as_str().into();
    }
    object
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOption, message)
}
