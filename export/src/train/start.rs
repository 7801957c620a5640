//! What a run starts from: random weights, those of another model, or its own newest checkpoint.

use super::config::Config;
use super::corpus::Corpus;
use super::engine::Tensors;
use super::initialization::initialize;
use super::snapshot::Snapshot;
use super::trainer::{LAST, PREVIOUS};
use super::vocabulary::Vocabularies;
use super::warm_start::WarmStart;
use crate::onnx::transformer::emit;
use siskin::Result;
use siskin::model::ModelSpec;
use std::path::Path;

/// The model that a run starts with.
pub struct Start {
    /// What it is made of.
    pub spec: ModelSpec,
    /// Its vocabularies.
    pub vocabularies: Vocabularies,
    /// Its weights.
    pub weights: Tensors,
}

impl Start {
    /// The vocabularies of `snapshot`, else of `warm_start`, else learned from the corpus, and weights of a model with
    /// them: those of `warm_start`, or random ones; what a snapshot holds is restored later.
    ///
    /// # Errors
    /// When the vocabularies cannot be learned, the model cannot be trained, or `warm_start` is another model.
    pub fn new(
        config: &Config,
        corpus: &Corpus,
        snapshot: Option<&Snapshot>,
        warm_start: Option<WarmStart>,
    ) -> Result<Self> {
        let vocabularies = match (snapshot, &warm_start) {
            (Some(Snapshot { vocabularies: [source, target], .. }), _) => Vocabularies::new(source, target)?,
            (None, Some(WarmStart { vocabularies: [source, target], .. })) => {
                Vocabularies::new(source, target)?
            }
            (None, None) => Vocabularies::learn(&corpus.train, &config.data)?,
        };
        let spec = config.spec(vocabularies.source()?.len(), vocabularies.target()?.len());
        let weights = match warm_start {
            Some(warm_start) => warm_start.weights(&spec)?,
            None => initialize(&emit(&spec, config.regularization())?.graph, config.seed),
        };
        Ok(Self { spec, vocabularies, weights })
    }
}

/// The newest checkpoint in `folder` that can be read, if there is one at all. Where the newest is damaged, the one
/// before it is taken, with a warning.
///
/// # Errors
/// When there are checkpoints and none can be read.
pub fn newest(folder: &Path) -> Result<Option<Snapshot>> {
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
