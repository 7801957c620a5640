//! Pairs of texts as pairs of token lists, as the model reads and writes them.

use crate::evaluate::pairs;
use siskin::format::{File, SectionKind};
use siskin::model::Model;
use siskin::pipeline::Generation;
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
        Ok(Self { source, target, generation, scratch: EncodeScratch::default() })
    }

    /// `pairs` in tokens: a pair for each reference. Those with a character that the model has no token for are left
    /// out.
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
        pair.source.extend_from_slice(&self.generation.source_suffix);
        self.target.encode_with(&mut self.scratch, target, &mut pair.target)?;
        Ok(pair)
    }
}
