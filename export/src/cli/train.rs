//! `siskin-export train`: from pairs of text to a checkpoint.

use clap::Args;
use siskin::Result;
use siskin_export::train::data::{Pair, read_pairs};
use siskin_export::train::initialization::initialize;
use siskin_export::train::trainer::{LAST, PREVIOUS, encode};
use siskin_export::train::vocabulary::Vocabulary;
use siskin_export::train::{Checkpoint, Config, OrtEngine, Trainer};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Arguments of `siskin-export train`.
#[derive(Args)]
pub struct Arguments {
    /// Pairs to train on: a source, a tab and a target per line.
    #[arg(long)]
    pairs: PathBuf,
    /// Pairs to measure progress on.
    #[arg(long)]
    dev: PathBuf,
    /// Folder of the run: checkpoints and log.jsonl. A run that is there is continued.
    #[arg(long)]
    out: PathBuf,
    /// The recipe, a TOML file.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Threads of ONNX Runtime.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// Runs the command.
pub fn run(arguments: Arguments) -> Result<()> {
    let checkpoint = newest(&arguments.out)?;
    let config = match (&arguments.config, &checkpoint) {
        (Some(path), _) => Config::read(path)?,
        (None, Some(checkpoint)) => checkpoint.config.clone(),
        (None, None) => Config::default(),
    };
    let separator = config.data.reference_separator.as_deref();
    let (train, mut cleaning) = read_pairs(&arguments.pairs, separator)?;
    let (dev, dev_cleaning) = read_pairs(&arguments.dev, separator)?;
    warn_of_overlap(&train, &dev);
    let (source, target) = match &checkpoint {
        Some(checkpoint) => (checkpoint.source.clone(), checkpoint.target.clone()),
        None => vocabularies(&config, &train),
    };
    let spec = config.spec(source.tokens.len(), target.tokens.len());
    let examples = encode(&train, (&source, &target), spec.max_positions, &mut cleaning);
    println!("train: {cleaning}");
    println!("dev: {dev_cleaning}");
    let graph = siskin_export::onnx::transformer::emit(&spec, config.regularization())?.graph;
    let weights = initialize(&graph, config.seed);
    let count: usize = weights.values().map(|tensor| tensor.data.len()).sum();
    println!(
        "model: {count} parameters, {} source and {} target tokens",
        source.tokens.len(),
        target.tokens.len()
    );
    let engine =
        OrtEngine::new(&spec, config.regularization(), config.optimizer, arguments.threads, &weights)?;
    let mut trainer = Trainer::new(config, engine, (source, target), examples, dev, &arguments.out)?;
    if let Some(checkpoint) = checkpoint {
        println!("continuing at step {}", checkpoint.progress.step);
        trainer.resume(checkpoint)?;
    }
    let progress = trainer.run()?;
    if let Some((loss, step)) = progress.best {
        println!("done: {} steps; lowest dev loss {loss:.4} at step {step}", progress.step);
    }
    Ok(())
}

/// The newest checkpoint in `folder` that can be read, if there is one.
fn newest(folder: &Path) -> Result<Option<Checkpoint>> {
    let paths = [folder.join(LAST), folder.join(PREVIOUS)];
    match paths.iter().find(|path| path.exists()) {
        Some(path) => Checkpoint::read(path).map(Some),
        None => Ok(None),
    }
}

fn vocabularies(config: &Config, pairs: &[Pair]) -> (Vocabulary, Vocabulary) {
    let sources = pairs.iter().map(|pair| pair.source.as_str());
    let targets = pairs.iter().flat_map(|pair| pair.targets.iter().map(String::as_str));
    (Vocabulary::build(config.data.source, sources), Vocabulary::build(config.data.target, targets))
}

fn warn_of_overlap(train: &[Pair], dev: &[Pair]) {
    let sources: HashSet<&str> = train.iter().map(|pair| pair.source.as_str()).collect();
    let shared = dev.iter().filter(|pair| sources.contains(pair.source.as_str())).count();
    if shared > 0 {
        eprintln!("warning: {shared} of {} dev sources are in the training set too", dev.len());
    }
}
