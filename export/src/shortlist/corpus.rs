//! Pairs of texts as pairs of token lists, as the model reads and writes them.

use crate::evaluate::pairs;
use siskin::format::{File, SectionKind};
use siskin::model::Model;
use siskin::pipeline::{Generation, LongInput};
use siskin::text::{EncodeScratch, Vocabulary};
use siskin::{Error, ErrorKind, Result};

/// A sentence in tokens, and its translation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// As the encoder reads it, prefix and suffix included.
    pub source: Vec<u32>,
    /// Without start and end token.
    pub target: Vec<u32>,
}

/// Cuts texts into the tokens of a model.
pub struct Tokenizer<'m> {
    source: &'m Vocabulary<'m>,
    target: &'m Vocabulary<'m>,
    generation: Generation,
    max_positions: usize,
    scratch: EncodeScratch,
}

impl<'m> Tokenizer<'m> {
    /// The tokenizer of `model`.
    ///
    /// # Errors
    /// [`ErrorKind::Vocabulary`] if the model has no vocabulary.
    pub fn new(model: &'m Model) -> Result<Self> {
        let generation = Generation::read(&File::parse(model.bytes())?.metadata(SectionKind::Generation))?;
        let (Some(source), Some(target)) = (model.source_vocabulary(), model.target_vocabulary()) else {
            let message = "the model file has no vocabulary: texts cannot be cut into its tokens";
            return Err(Error::new(ErrorKind::Vocabulary, message));
        };
        let max_positions = model.spec().max_positions;
        Ok(Self { source, target, generation, max_positions, scratch: EncodeScratch::default() })
    }

    /// `pairs` in tokens: a pair for each reference. Those with a character that the model has no token for are left
    /// out; a source that is too long is cut where the model asks for it.
    pub fn pairs(&mut self, pairs: &[pairs::Pair]) -> Vec<Pair> {
        let mut found = Vec::new();
        for pair in pairs {
            for reference in &pair.references {
                found.extend(self.pair(&pair.source, reference).ok());
            }
        }
        found
    }

    fn pair(&mut self, source: &str, target: &str) -> Result<Pair> {
        let mut pair = Pair { source: self.generation.source_prefix.clone(), target: Vec::new() };
        self.source.encode_with(&mut self.scratch, source, &mut pair.source)?;
        let suffix = &self.generation.source_suffix;
        if self.generation.long_input == LongInput::Truncate {
            pair.source.truncate(self.max_positions.saturating_sub(suffix.len()));
        }
        pair.source.extend_from_slice(suffix);
        self.target.encode_with(&mut self.scratch, target, &mut pair.target)?;
        Ok(pair)
    }
}
