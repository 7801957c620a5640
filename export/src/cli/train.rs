//! `siskin-export train`: from pairs of text to a checkpoint.

use crate::train::config::Size;
use crate::train::corpus::{Corpus, PairsFile};
use crate::train::log::Event;
use crate::train::memory::available_bytes;
use crate::train::report::write_report;
use crate::train::start::{Start, newest};
use crate::train::teacher::Teacher;
use crate::train::warm_start::WarmStart;
use crate::train::{Config, EngineChoice, Trainer};
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use siskin::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const EXAMPLES: &str = "\
Examples:
  siskin-export train --pairs train.tsv --dev dev.tsv --out run --config recipe.toml
  siskin-export train --pairs de=en-de.tsv --pairs fr=en-fr.tsv --dev de=dev-de.tsv --dev fr=dev-fr.tsv --out run
  siskin-export train --pairs train.tsv --dev dev.tsv --out student --teacher big.siskin --threads 2
  siskin-export train --pairs medical.tsv --dev dev.tsv --out tuned --warm-start en-de.siskin --config recipe.toml

Ctrl-C finishes the update, writes a checkpoint and ends the run, twice ends it at once; the same command continues it.";

/// Arguments of `siskin-export train`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Pairs to train on: a source, a tab and a target per line; may be given more than once, and as TASK=FILE for a
    /// model with several tasks or directions
    #[arg(long, value_name = "FILE", required = true)]
    pairs: Vec<PairsFile>,
    /// Pairs to measure progress on, given as --pairs are
    #[arg(long, value_name = "FILE", required = true)]
    dev: Vec<PairsFile>,
    /// Pairs whose sources are not to be trained on, such as a test set; those of --dev never are
    #[arg(long, value_name = "FILE")]
    held_out: Vec<PathBuf>,
    /// Folder of the run: checkpoints, log.jsonl and report.html; a run that is there is continued
    #[arg(long)]
    out: PathBuf,
    /// The recipe, a TOML file [default: that of the run in --out, if there is one]
    #[arg(long)]
    config: Option<PathBuf>,
    /// The size of the model, where there is no recipe
    #[arg(long, value_enum, default_value = "small", conflicts_with = "config")]
    size: Size,
    /// Start from the weights and vocabularies of this model file or checkpoint
    #[arg(long, value_name = "FILE")]
    warm_start: Option<PathBuf>,
    /// Learn what this model writes for the sources, instead of the targets or beside them
    #[arg(long, value_name = "FILE")]
    teacher: Option<PathBuf>,
    /// For the model's card: the language of the sources, such as en
    #[arg(long, value_name = "LANGUAGE")]
    source_lang: Option<String>,
    /// For the model's card: the language of the targets
    #[arg(long, value_name = "LANGUAGE")]
    target_lang: Option<String>,
    /// Stop at this step, although the recipe has more
    #[arg(long, value_name = "STEP")]
    until: Option<u64>,
    /// What computes gradients and takes steps; either continues the checkpoints of the other
    #[arg(long, value_enum, default_value = "auto")]
    engine: EngineChoice,
    /// Threads of ONNX Runtime and of the teacher
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read or written, the recipe or the data is unusable, training fails or is interrupted.
pub fn run(arguments: &Arguments) -> Result<()> {
    let snapshot = newest(&arguments.out)?;
    let continued = snapshot.as_ref().map(|snapshot| snapshot.progress.step);
    let config = arguments.config(snapshot.as_ref().map(|snapshot| &snapshot.config))?;
    let mut corpus = Corpus::read(&arguments.pairs, &arguments.dev, &arguments.held_out, &config.data)?;
    if let Some(warning) = corpus.overlap_warning() {
        eprintln!("warning: {warning}");
    }
    if let Some(path) = &arguments.teacher {
        arguments.learn_from(path, &mut corpus, &config)?;
    }
    let warm_start = arguments.warm_start.as_ref().filter(|_| snapshot.is_none());
    let warm_start = warm_start.map(|path| WarmStart::read(path)).transpose()?;
    let Start { spec, vocabularies, weights } = Start::new(&config, &corpus, snapshot.as_ref(), warm_start)?;
    let (regularization, optimizer) = (config.regularization(), config.optimizer);
    let (engine, engine_line) =
        arguments.engine.start(&spec, regularization, optimizer, arguments.threads, &weights)?;
    let metric = config.training.metric;
    let train = (corpus.train.as_slice(), &mut corpus.cleaning);
    let mut trainer = Trainer::new(config, engine, vocabularies, train, corpus.dev, &arguments.out)?;
    let memory = trainer.check_memory(available_bytes().unwrap_or(usize::MAX))? >> 20;
    let parameters: usize = weights.values().map(|tensor| tensor.values.len()).sum();
    let (sources, targets) = (spec.source_vocabulary, spec.target_vocabulary);
    let model = format!(
        "{parameters} parameters, {sources} source and {targets} target tokens, about {memory} MiB of memory"
    );
    trainer.log().write(&Event::Start {
        train: &corpus.cleaning.to_string(),
        dev: &corpus.dev_cleaning.to_string(),
        model: &model,
        engine: &engine_line,
    })?;
    if let Some(snapshot) = snapshot {
        trainer.resume(snapshot)?;
    }
    if let Some(step) = continued {
        trainer.log().print(&format!("continuing at step {step}"));
    }
    trainer.interrupt_by(on_interrupt()?);
    let progress = trainer.run_until(arguments.until.unwrap_or(u64::MAX))?;
    write_report(&arguments.out)?;
    if let Some((score, step)) = progress.best {
        let (steps, metric) = (progress.step, metric.name());
        trainer.log().print(&format!("{steps} steps; best {metric} {score:.4} at step {step}"));
    }
    Ok(())
}

impl Arguments {
    /// The recipe: a file's, else that of the run that is continued, else one of the size that was asked for.
    fn config(&self, continued: Option<&Config>) -> Result<Config> {
        let mut config = match (&self.config, continued) {
            (Some(path), _) => Config::read(path)?,
            (None, Some(config)) => config.clone(),
            (None, None) => Config { model: self.size.model(), ..Config::default() },
        };
        let data = &mut config.data;
        data.source_language = self.source_lang.clone().or(data.source_language.take());
        data.target_language = self.target_lang.clone().or(data.target_language.take());
        config.check()?;
        Ok(config)
    }

    /// Replaces the targets, or adds to them, as the recipe says.
    fn learn_from(&self, teacher: &std::path::Path, corpus: &mut Corpus, config: &Config) -> Result<()> {
        let teacher = Teacher::open(teacher, self.threads, &self.out)?;
        let report = |done, all| println!("teacher: {done} of {all} sources");
        let unread = teacher.teach(&mut corpus.train, config.data.teacher_targets, report)?;
        if unread > 0 {
            eprintln!("warning: {unread} pairs keep their targets: the teacher cannot read their sources");
        }
        Ok(())
    }
}

/// What is set when the user, or the system, asks the process to end; the second time it ends at once, without the
/// destructors of a library that is still computing.
fn on_interrupt() -> Result<Arc<AtomicBool>> {
    const INTERRUPTED: i32 = 130; // as shells report SIGINT
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&interrupt))
            .and_then(|_| flag::register(signal, Arc::clone(&interrupt)))
            .map_err(|e| {
                Error::new(ErrorKind::InvalidOption, format!("interrupts cannot be handled: {e}"))
            })?;
    }
    Ok(interrupt)
}
