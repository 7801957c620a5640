//! Sentence pairs as tokens: those of a lesson, and the model's golden sentences.

use super::batch::Batch;
use super::random::Random;
use crate::error::{Error, ErrorKind, Result};
use crate::format::File;
use crate::model::{Model, ModelSpec};
use crate::pipeline::Translator;

/// A pair as tokens.
#[derive(Clone, Debug)]
pub struct Sample {
    /// As the encoder reads it.
    pub source: Vec<u32>,
    /// Without start and end token, behind the tokens of the task.
    pub target: Vec<u32>,
    /// Tokens of the task.
    pub given: usize,
    /// The decoder's output of the model without an adapter, where it is kept [T, D]; else empty.
    pub states: Vec<f32>,
    /// The encoder's output, where it is kept [S, D], since nothing of the encoder learns; else empty.
    pub memory: Vec<f32>,
}

impl Sample {
    /// The pair of two texts.
    ///
    /// # Errors
    /// A character that the model has no token for, a text that is blank or too long.
    pub fn new(translator: &mut Translator, source: &str, target: &str) -> Result<Self> {
        let source_tokens = translator.encode_source(source)?;
        let task = &translator.options().task;
        let target_tokens = [&task[..], &translator.encode_target(target)?].concat();
        let given = task.len();
        if source_tokens.is_empty() || target_tokens.len() == given {
            return Err(Error::new(ErrorKind::InvalidOption, "a source or target without text"));
        }
        Ok(Self {
            source: source_tokens,
            target: target_tokens,
            given,
            states: Vec::new(),
            memory: Vec::new(),
        })
    }

    /// The golden sentences of a model, with the outputs that it gives for them.
    ///
    /// # Errors
    /// Those of [`File::parse`].
    pub fn golden(model: &Model, task: &[u32]) -> Result<Vec<Self>> {
        let golden = File::parse(model.bytes())?.golden();
        let sentences = golden.iter().flat_map(|golden| golden.iter());
        let sample = |sentence: crate::format::GoldenSentence<'_>| Self {
            source: sentence.source.iter().collect(),
            target: task.iter().copied().chain(sentence.output.iter()).collect(),
            given: task.len(),
            states: Vec::new(),
            memory: Vec::new(),
        };
        Ok(sentences.map(sample).filter(|sample| !sample.source.is_empty()).collect())
    }

    /// The start of this source and the end of another one's, one token of it replaced by a random one of `vocabulary`;
    /// the target stays, and what was kept is gone.
    #[must_use]
    pub fn mixed(&self, other: &Self, random: &mut Random, vocabulary: usize) -> Self {
        // The lengths of both parts are between those of the two sources together.
        let (first, second) = (random.below(self.source.len()), random.below(other.source.len()));
        let mut source = [&self.source[..first], &other.source[second..]].concat();
        let at = random.below(source.len());
        source[at] = random.below(vocabulary) as u32;
        Self { source, states: Vec::new(), memory: Vec::new(), ..self.clone() }
    }

    /// Source and target rows that it takes.
    pub fn rows(&self) -> usize {
        self.source.len() + self.target.len() + 1
    }
}

/// Samples that are computed together.
///
/// # Errors
/// As [`Batch::push`].
pub fn batch_of<'a>(spec: &ModelSpec, samples: impl IntoIterator<Item = &'a Sample>) -> Result<Batch> {
    let mut batch = Batch::default();
    let mut known = true;
    for Sample { source, target, given, memory, .. } in samples {
        batch.push(spec, source, target, *given)?;
        batch.memory.extend_from_slice(memory);
        known &= !memory.is_empty();
    }
    if !known {
        batch.memory.clear();
    }
    Ok(batch)
}
