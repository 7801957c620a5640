//! `siskin-export train`: from pairs of text to a checkpoint.

use crate::onnx::transformer::emit;
use crate::train::config::Size;
use crate::train::data::{clean, read_pairs};
use crate::train::initialization::initialize;
use crate::train::report::write_report;
use crate::train::trainer::{LAST, PREVIOUS};
use crate::train::vocabulary::Vocabularies;
use crate::train::{Config, EngineChoice, Snapshot, Trainer};
use clap::Args;
use serde_json::json;
use siskin::Result;
use std::path::{Path, PathBuf};

/// Arguments of `siskin-export train`.
#[derive(Args)]
pub struct Arguments {
    /// Pairs to train on: a source, a tab and a target per line
    #[arg(long)]
    pairs: PathBuf,
    /// Pairs to measure progress on
    #[arg(long)]
    dev: PathBuf,
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
    /// Stop at this step, although the recipe has more
    #[arg(long, value_name = "STEP")]
    until: Option<u64>,
    /// What computes gradients and takes steps; checkpoints of one are continued by the other
    #[arg(long, value_enum, default_value = "auto")]
    engine: EngineChoice,
    /// Threads of ONNX Runtime
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read or written, the recipe or the data is unusable, or training fails.
pub fn run(arguments: &Arguments) -> Result<()> {
    let snapshot = newest(&arguments.out)?;
    let config = match (&arguments.config, &snapshot) {
        (Some(path), _) => Config::read(path)?,
        (None, Some(snapshot)) => snapshot.config.clone(),
        (None, None) => Config { model: arguments.size.model(), ..Config::default() },
    };
    let separator = config.data.reference_separator.as_deref();
    let (mut train, mut cleaning) = read_pairs(&arguments.pairs, separator)?;
    let (dev, dev_cleaning) = read_pairs(&arguments.dev, separator)?;
    let mut held_out = dev.clone();
    for path in &arguments.held_out {
        held_out.extend(read_pairs(path, separator)?.0);
    }
    clean(&mut train, &held_out, config.data.cleaning, &mut cleaning);
    let vocabularies = match &snapshot {
        Some(Snapshot { vocabularies: [source, target], .. }) => Vocabularies::new(source, target)?,
        None => Vocabularies::learn(&train, &config.data)?,
    };
    let spec = config.spec(vocabularies.source()?.len(), vocabularies.target()?.len());
    let weights = initialize(&emit(&spec, config.regularization())?.graph, config.seed);
    let (regularization, optimizer) = (config.regularization(), config.optimizer);
    let (engine, engine_line) =
        arguments.engine.start(&spec, regularization, optimizer, arguments.threads, &weights)?;
    let train = (train.as_slice(), &mut cleaning);
    let mut trainer = Trainer::new(config, engine, vocabularies, train, dev, &arguments.out)?;
    let parameters: usize = weights.values().map(|tensor| tensor.values.len()).sum();
    let (sources, targets) = (spec.source_vocabulary, spec.target_vocabulary);
    trainer.write_log(&json!({
        "train": cleaning.to_string(),
        "dev": dev_cleaning.to_string(),
        "model": format!("{parameters} parameters, {sources} source and {targets} target tokens"),
        "engine": engine_line,
    }))?;
    if let Some(snapshot) = snapshot {
        println!("continuing at step {}", snapshot.progress.step);
        trainer.resume(snapshot)?;
    }
    let progress = trainer.run_until(arguments.until.unwrap_or(u64::MAX))?;
    write_report(&arguments.out)?;
    if let Some((loss, step)) = progress.best {
        println!("done: {} steps; lowest dev loss {loss:.4} at step {step}", progress.step);
    }
    Ok(())
}

/// The newest checkpoint in `folder` that can be read, if there is one at all.
fn newest(folder: &Path) -> Result<Option<Snapshot>> {
    let last = folder.join(LAST);
    let previous = folder.join(PREVIOUS);
    match (last.exists(), previous.exists()) {
        (false, false) => Ok(None),
        (true, false) => Snapshot::read(&last).map(Some),
        (false, true) => Snapshot::read(&previous).map(Some),
        (true, true) => {
            let newest = Snapshot::read(&last).or_else(|error| {
                eprintln!("warning: {error}; continuing from the checkpoint before it");
                Snapshot::read(&previous)
            });
            newest.map(Some)
        }
    }
}
