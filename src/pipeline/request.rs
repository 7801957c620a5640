//! What a translation is asked for.

use alloc::vec::Vec;

use super::{Generation, Recall};
use crate::decode::{DecodeOptions, Strategy};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::Kernels;
use crate::model::{Model, ShortlistMode};

/// How to translate.
#[derive(Clone, Debug, PartialEq)]
pub struct TranslateOptions {
    /// How to search.
    pub decode: DecodeOptions,
    /// What the model reads at once.
    pub unit: Unit,
    /// Whether only the tokens are scored that the model's shortlist has for a source.
    pub shortlist: ShortlistMode,
    /// What happens to a source that is longer than the model's positions.
    pub long_input: LongInput,
    /// Tokens behind the start token that tell a model with several tasks or languages which is asked for
    /// ([`Translator::task`](super::Translator::task)); they are no part of the text.
    pub task: Vec<u32>,
    /// Tokens that every output begins with, behind those of the task; they are part of the text.
    pub target_prefix: Vec<u32>,
    /// What corrections are recalled for: those that an adapter was learned from, and those of
    /// [`Translator::remember`](super::Translator::remember). Only for the task that the model file asks for; sources
    /// are answered by them only without a target prefix.
    pub recall: Recall,
    /// Sources that a thread computes together, at most. It changes speed and memory, never a result.
    pub batch: usize,
    /// Threads that work: on batches of their own where there are sources enough, else together on one. They change speed
    /// and memory, never a result.
    pub threads: usize,
    /// What a request may use.
    pub limits: Limits,
}

/// Up to this size of the file, a processor's caches hold the weights that a step reads: then more sources in a batch
/// than kernels multiply at once only push each other out of them. Weights that come from memory are read once for the
/// whole batch.
const CACHED: usize = 32 << 20;

impl TranslateOptions {
    /// The options that a model of `bytes` bytes asks for on `kernels`: one thread, batches of 8 for a small model, or 16
    /// where kernels multiply as many rows at once, and 32 for a large one, no limit.
    pub fn of(generation: &Generation, bytes: usize, kernels: &Kernels) -> Self {
        Self {
            decode: generation.decode.clone(),
            unit: generation.unit,
            shortlist: generation.shortlist,
            long_input: generation.long_input,
            task: generation.target_prefix.clone(),
            target_prefix: Vec::new(),
            recall: Recall::default(),
            batch: if bytes <= CACHED { kernels.rows_at_once().max(8) } else { 32 },
            threads: 1,
            limits: Limits::default(),
        }
    }
}

impl TranslateOptions {
    /// The same options for summarization: a document is read as a whole, or as much of its start as fits.
    pub fn of_documents(self) -> Self {
        Self { unit: Unit::Line, long_input: LongInput::Truncate, ..self }
    }

    /// Checks that the model has the shortlist that is to be used, and that a choice can be verified.
    pub(super) fn check_shortlist(&self, model: &Model) -> Result<()> {
        let invalid = |message| Err(Error::new(ErrorKind::InvalidOption, message));
        match self.shortlist {
            ShortlistMode::Off => Ok(()),
            _ if model.shortlist().is_none() => {
                invalid("the model file has no shortlist: `siskin-export shortlist` adds one")
            }
            ShortlistMode::Verify if matches!(self.decode.strategy, Strategy::Sample(_)) => {
                invalid("random tokens cannot be verified: use the shortlist without, or not at all")
            }
            ShortlistMode::On | ShortlistMode::Verify => Ok(()),
        }
    }
}

/// What a model reads at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// The text as it is.
    #[default]
    Line,
    /// One sentence of it at a time.
    Sentence,
}

/// What happens to a source that is longer than the model's positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LongInput {
    /// [`ErrorKind::InputTooLong`](crate::ErrorKind::InputTooLong).
    #[default]
    Refuse,
    /// It is cut where there is white space near its middle, until every part fits.
    Split,
    /// Its first tokens are read, and [`Segment::unread`](super::Segment::unread) says how many were not.
    Truncate,
}

/// What a request may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of working memory, the model's own bytes not counted. A batch is made smaller to fit; what does not fit
    /// one by one is refused with [`ErrorKind::MemoryLimit`](crate::ErrorKind::MemoryLimit) before anything is
    /// allocated.
    pub max_memory: Option<u64>,
}
