//! `siskin learn`: corrections become an adapter.

use super::load::ModelArguments;
use super::resources::size;
use crate::format::write_atomically;
use crate::learn::{Budget, LearnOptions, Learner, Scope, Verdict};
use crate::model::{Adapter, Model};
use crate::{Error, ErrorKind, Result};
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::fs;
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Teach a model corrections, which are kept in an adapter file.
///
/// The model file stays as it is. What was learned is kept only if earlier lessons and the model's golden sentences still
/// come out well; the file is replaced as a whole or not at all.
#[derive(Args)]
#[command(after_help = "\
Exit status: 0 if the lesson was kept, 1 if it was rejected or failed, 2 for a wrong command line or option.

Examples:
  siskin learn -m en-de.siskin --adapter me.adapter --source \"The tit sings.\" --target \"Die Meise singt.\"
  siskin learn -m en-de.siskin --adapter me.adapter --pairs corrections.tsv
  siskin learn -m en-de.siskin --adapter me.adapter --undo
  siskin translate -m en-de.siskin --adapter me.adapter \"A tit sings.\"")]
pub(super) struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The adapter file: made if it is not there, else what it has learned is learned on
    #[arg(long, value_name = "FILE")]
    adapter: PathBuf,
    /// A source whose target was wrong
    #[arg(long, value_name = "TEXT", requires = "target", conflicts_with_all = ["pairs", "undo"])]
    source: Option<String>,
    /// The target that it should have
    #[arg(long, value_name = "TEXT", requires = "source")]
    target: Option<String>,
    /// A file with a source, a TAB and a target in every line
    #[arg(long, value_name = "FILE", conflicts_with = "undo")]
    pairs: Option<PathBuf>,
    /// Put back the adapter as it was before its last lesson
    #[arg(long)]
    undo: bool,
    /// What learns; an adapter that is learned on must have the same
    #[arg(long, value_enum, default_value = "low-rank", value_name = "WHAT")]
    scope: ScopeArgument,
    /// Rank of the low-rank terms
    #[arg(long, value_name = "N", default_value_t = 8)]
    rank: usize,
    /// The size of a step
    #[arg(long, value_name = "RATE", default_value_t = LearnOptions::default().learning_rate)]
    learning_rate: f32,
    /// Passes through the pairs, at most
    #[arg(long, value_name = "N", default_value_t = LearnOptions::default().passes)]
    passes: usize,
    /// Seconds that the lesson may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    max_time: u64,
    /// Memory beside the model file, such as 48MB or 16MiB
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "64MiB")]
    max_memory: u64,
    /// Threads that share a step
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScopeArgument {
    /// Low-rank terms beside the outputs of the feed-forward networks and the values of the cross-attention
    LowRank,
    /// All biases and norms
    BiasesAndNorms,
    /// The bias of the output projection
    OutputBias,
}

/// Runs the command.
///
/// # Errors
/// The model or the adapter cannot be loaded, a pair cannot be learned, or the adapter cannot be written.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (path, before) = (&arguments.adapter, beside(&arguments.adapter));
    if arguments.undo {
        return undo(path, &before);
    }
    let pairs = arguments.pairs()?;
    let model = adapted(arguments.model.find("en-de")?.open()?, Some(path).filter(|path| path.exists()))?;
    let mut learner = Learner::new(&Arc::new(model), arguments.options(), arguments.budget())?;
    let texts: Vec<(&str, &str)> =
        pairs.iter().map(|(source, target)| (source.as_str(), target.as_str())).collect();
    let shown = std::io::stderr().is_terminal();
    let outcome = learner.learn_with(&texts, |pass| {
        if shown {
            eprint!("\rpass {} of {}: {} of {} tokens right", pass.passes, pass.of, pass.right, pass.tokens);
        }
        ControlFlow::Continue(())
    });
    if shown {
        eprintln!();
    }
    let outcome = outcome?;
    println!("{outcome}");
    if outcome.verdict != Verdict::Kept {
        return Ok(ExitCode::FAILURE);
    }
    if let Ok(bytes) = fs::read(path) {
        write_atomically(&before, &bytes)?;
    }
    learner.save(path)?;
    Ok(ExitCode::SUCCESS)
}

/// `model` with the adapter in a file, where one is named.
///
/// # Errors
/// Those of [`Adapter::open`] and [`Model::with_adapter`].
pub(super) fn adapted(model: Model, adapter: Option<&PathBuf>) -> Result<Model> {
    let Some(path) = adapter else { return Ok(model) };
    model.with_adapter(Arc::new(Adapter::open(path)?)).map_err(|error| error.at(path.display()))
}

/// Where the adapter is kept as it was before its last lesson.
fn beside(adapter: &Path) -> PathBuf {
    let mut name = OsString::from(adapter);
    name.push(".before");
    PathBuf::from(name)
}

fn undo(path: &Path, before: &Path) -> Result<ExitCode> {
    let version = Adapter::open(before).map_err(|error| error.at("nothing to undo"))?.version();
    fs::rename(before, path)
        .map_err(|error| Error::io(format!("cannot replace {}", path.display()), error))?;
    println!("version {version} is back");
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn options(&self) -> LearnOptions {
        let defaults = LearnOptions::default();
        let scope = match (self.scope, &defaults.scope) {
            (ScopeArgument::LowRank, Scope::LowRank { projections, .. }) => {
                Scope::LowRank { rank: self.rank, projections: projections.clone() }
            }
            (ScopeArgument::LowRank, other) => other.clone(),
            (ScopeArgument::BiasesAndNorms, _) => Scope::BiasesAndNorms,
            (ScopeArgument::OutputBias, _) => Scope::OutputBias,
        };
        LearnOptions { scope, learning_rate: self.learning_rate, passes: self.passes, ..defaults }
    }

    fn budget(&self) -> Budget {
        let time = Duration::from_secs(self.max_time);
        Budget { memory: self.max_memory, threads: self.threads, time }
    }

    fn pairs(&self) -> Result<Vec<(String, String)>> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidOption, message);
        let Some(path) = &self.pairs else {
            let pair = self.source.clone().zip(self.target.clone());
            let pair =
                pair.ok_or_else(|| invalid("name a --source and its --target, or a file of --pairs".into()));
            return Ok(vec![pair?]);
        };
        let text = fs::read_to_string(path)
            .map_err(|error| Error::io(format!("cannot read {}", path.display()), error))?;
        let pair = |(i, line): (usize, &str)| match line.split_once('\t') {
            Some((source, target)) => Ok((source.to_owned(), target.to_owned())),
            None => Err(invalid(format!("{}, line {}: there is no TAB in it", path.display(), i + 1))),
        };
        text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(pair).collect()
    }
}
