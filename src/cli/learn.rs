//! `siskin learn`: corrections become an adapter.

use super::load::ModelArguments;
use super::resources::size;
use crate::format::{File, Lesson, write_atomically};
use crate::learn::{Budget, Course, LearnOptions, Learner, Outcome, Schedule, Scope, Verdict};
use crate::model::{Adapter, Model, Reach};
use crate::tensor::AlignedBytes;
use crate::{Error, ErrorKind, Result};
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Teach a model corrections, which are kept in an adapter file.
///
/// The model file stays as it is. What was learned is kept only if earlier lessons and the model's golden sentences still
/// come out well; the file is replaced as a whole or not at all.
#[derive(Args)]
#[command(after_help = "\
Exit status: 0 if the lesson was kept, 1 if it was rejected or failed, 2 for a wrong command line or option.

Examples:
  siskin learn -m en-de.siskin --adapter me.adapter --source \"The tit sings.\" --target \"Die Meise singt.\"
  siskin learn -m en-de.siskin --adapter terms.adapter --reach terms --pairs corrections.tsv
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
    /// Go on with a lesson that was interrupted
    #[arg(long, conflicts_with_all = ["pairs", "source", "undo"])]
    resume: bool,
    /// Put back the adapter as it was before its last lesson
    #[arg(long)]
    undo: bool,
    /// What learns; an adapter that is learned on must have the same
    #[arg(long, value_enum, default_value = "low-rank", value_name = "WHAT")]
    scope: ScopeArgument,
    /// Which inputs the adapter is used for; an adapter that is learned on must have the same
    #[arg(long, value_enum, default_value = "everywhere", value_name = "WHERE")]
    reach: ReachArgument,
    /// Rank of the low-rank terms: 8, and 16 for terms
    #[arg(long, value_name = "N")]
    rank: Option<usize>,
    /// The size of a step: 0.005, and 0.0075 for terms
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f32>,
    /// Let the size of steps fall in a line, to zero behind the last pass
    #[arg(long)]
    decay: bool,
    /// Probability mass of each label that is spread over the vocabulary
    #[arg(long, value_name = "MASS", default_value_t = LearnOptions::default().smoothing)]
    smoothing: f32,
    /// Passes through the pairs, at most
    #[arg(long, value_name = "N", default_value_t = LearnOptions::default().passes)]
    passes: usize,
    /// New pairs of a step; more of them for lessons of thousands
    #[arg(long, value_name = "N", default_value_t = LearnOptions::default().batch)]
    batch: usize,
    /// What keeping the golden sentences weighs against the new pairs: 40, and 10 for terms
    #[arg(long, value_name = "WEIGHT")]
    keep: Option<f32>,
    /// How much the golden sentences may change, in nats a token: 0.03, and 0.1 for terms; more where a lesson is a domain
    #[arg(long, value_name = "NATS")]
    bound: Option<f32>,
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
    /// Low-rank terms beside all projections, for lessons of thousands of pairs
    AllProjections,
    /// All biases and norms
    BiasesAndNorms,
    /// The bias of the output projection
    OutputBias,
}

#[derive(Clone, Copy, ValueEnum)]
enum ReachArgument {
    /// All
    Everywhere,
    /// Those that have a word which several corrections translate alike, and the model otherwise: all others come out as
    /// before, to the bit
    Terms,
}

/// Runs the command.
///
/// # Errors
/// The model or the adapter cannot be loaded, a pair cannot be learned, or the adapter cannot be written.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (path, before) = (&arguments.adapter, beside(&arguments.adapter, "before"));
    if arguments.undo {
        return undo(path, &before);
    }
    let suspended = Suspended::beside(path);
    if let Some(version) = suspended.learned_by(path)? {
        suspended.remove()?;
        if arguments.resume {
            println!("the lesson was kept already: the adapter has version {version}");
            return Ok(ExitCode::SUCCESS);
        }
    }
    let found = suspended.read(arguments.resume)?;
    let pairs = if arguments.resume { Vec::new() } else { arguments.pairs()? };
    let model = adapted(arguments.model.find("en-de")?.open()?, Some(path).filter(|path| path.exists()))?;
    let mut learner = Learner::new(&Arc::new(model), arguments.options(), arguments.budget())?;
    let texts: Vec<(&str, &str)> =
        pairs.iter().map(|(source, target)| (source.as_str(), target.as_str())).collect();
    let course = match found {
        Some(bytes) => learner.resume(&bytes).map_err(|error| error.at(suspended.0.display()))?,
        None => learner.begin(&texts)?,
    };
    let outcome = suspended.follow(course)?;
    println!("{outcome}");
    if outcome.verdict != Verdict::Kept {
        suspended.remove()?;
        return Ok(ExitCode::FAILURE);
    }
    if let Ok(bytes) = fs::read(path) {
        write_atomically(&before, &bytes)?;
    }
    learner.save(path)?;
    suspended.remove()?;
    if learner.reach() == Reach::Terms {
        let terms: Vec<String> =
            learner.terms().iter().map(|(source, target)| format!("{source} = {target}")).collect();
        match &terms[..] {
            [] => println!(
                "no word is translated alike by several corrections: the adapter is used for no input"
            ),
            terms => println!("terms: {}", terms.join(", ")),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The file beside an adapter in which a lesson is kept while it is being learned: `FILE.lesson`.
struct Suspended(PathBuf);

impl Suspended {
    fn beside(adapter: &Path) -> Self {
        Self(beside(adapter, "lesson"))
    }

    /// The version of `adapter` if that has learned the lesson: a kill between the two files leaves it.
    fn learned_by(&self, adapter: &Path) -> Result<Option<u32>> {
        let Ok(adapter) = Adapter::open(adapter) else { return Ok(None) };
        let lessons = lessons(&self.0, |lesson| lesson.version)?;
        Ok(lessons.first().is_some_and(|&lesson| lesson <= adapter.version()).then(|| adapter.version()))
    }

    /// The bytes of the file if it is to be resumed; without that, there must be none.
    fn read(&self, resume: bool) -> Result<Option<Vec<u8>>> {
        let path = self.0.display();
        match (resume, self.0.exists()) {
            (false, false) => Ok(None),
            (true, _) => fs::read(&self.0)
                .map(Some)
                .map_err(|error| Error::io(format!("cannot read the interrupted lesson {path}"), error)),
            (false, true) => {
                let message =
                    format!("{path} holds a lesson that was interrupted: --resume it, or remove the file");
                Err(Error::new(ErrorKind::InvalidOption, message))
            }
        }
    }

    /// Learns to the end. The file is there from the start, and as it was at most a second before.
    fn follow(&self, mut course: Course<'_>) -> Result<Outcome> {
        let shown = std::io::stderr().is_terminal();
        write_atomically(&self.0, &course.suspend()?)?;
        let mut written = Instant::now();
        while let Some(pass) = course.pass()? {
            if shown {
                eprint!(
                    "\rpass {} of {}: {} of {} tokens right",
                    pass.passes, pass.of, pass.right, pass.tokens
                );
            }
            if written.elapsed() >= Duration::from_secs(1) {
                write_atomically(&self.0, &course.suspend()?)?;
                written = Instant::now();
            }
        }
        if shown {
            eprintln!();
        }
        course.finish()
    }

    fn remove(&self) -> Result<()> {
        fs::remove_file(&self.0)
            .map_err(|error| Error::io(format!("cannot remove {}", self.0.display()), error))
    }
}

/// The corrections that are being learned over an adapter, or whose learning was interrupted.
///
/// # Errors
/// The file of the lesson is damaged.
pub(super) fn pending(adapter: &Path) -> Result<Vec<(String, String)>> {
    let texts = |lesson: Lesson<'_>| (lesson.source.to_owned(), lesson.target.to_owned());
    lessons(&Suspended::beside(adapter).0, texts)
}

/// What `part` takes of the lessons in a file, where there is one.
fn lessons<T>(path: &Path, part: impl Fn(Lesson<'_>) -> T) -> Result<Vec<T>> {
    let Ok(bytes) = fs::read(path) else { return Ok(Vec::new()) };
    let bytes = AlignedBytes::copy_of(&bytes);
    let file = File::parse(bytes.as_slice()).map_err(|error| error.at(path.display()))?;
    Ok(file.lessons().into_iter().flat_map(|lessons| lessons.iter()).map(part).collect())
}

/// `model` with the adapter in a file, where one is named.
///
/// # Errors
/// Those of [`Adapter::open`] and [`Model::with_adapter`].
pub(super) fn adapted(model: Model, adapter: Option<&PathBuf>) -> Result<Model> {
    let Some(path) = adapter else { return Ok(model) };
    model.with_adapter(Arc::new(Adapter::open(path)?)).map_err(|error| error.at(path.display()))
}

/// The file beside an adapter with `word` behind its name: `before` is the adapter before its last lesson.
fn beside(adapter: &Path, word: &str) -> PathBuf {
    let mut name = OsString::from(adapter);
    name.push(".");
    name.push(word);
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
        let mut options = LearnOptions::of(match self.reach {
            ReachArgument::Everywhere => Reach::Everywhere,
            ReachArgument::Terms => Reach::Terms,
        });
        match self.scope {
            ScopeArgument::LowRank => {}
            ScopeArgument::AllProjections => {
                if let Scope::LowRank { projections, .. } = &mut options.scope {
                    projections.clear();
                }
            }
            ScopeArgument::BiasesAndNorms => options.scope = Scope::BiasesAndNorms,
            ScopeArgument::OutputBias => options.scope = Scope::OutputBias,
        }
        if let (Scope::LowRank { rank, .. }, Some(asked)) = (&mut options.scope, self.rank) {
            *rank = asked;
        }
        if self.decay {
            options.schedule = Schedule::Linear;
        }
        options.gate.divergence = self.bound.or(options.gate.divergence);
        options.learning_rate = self.learning_rate.unwrap_or(options.learning_rate);
        options.keep = self.keep.unwrap_or(options.keep);
        LearnOptions { smoothing: self.smoothing, passes: self.passes, batch: self.batch, ..options }
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
