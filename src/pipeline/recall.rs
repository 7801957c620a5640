//! The memory of corrections: what was corrected is answered by its correction, also before a model has learned it.
//!
//! Sources are compared as tokens. The similarity of two is 1 - d / n, with the [edit distance](edit_distance) d and the
//! length n of the longer one: 1 for the same tokens, 0 where none is shared.

use alloc::string::String;
use alloc::vec::Vec;

use crate::text::edit_distance;

/// What corrections are recalled for, each with what is above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recall {
    /// Nothing.
    Off,
    /// The [terms](crate::model::Adapter::terms) of an adapter: where a source has the word of one, the model is helped to
    /// complete the target's word when it has begun it.
    Terms,
    /// Sources that were corrected: they are answered by their correction. Where a similar one was, that is a
    /// [`Suggestion`].
    #[default]
    Exact,
    /// Similar sources too.
    Fuzzy,
}

/// The least similarity of a source to one that was corrected for which that is of use: of ten tokens, seven are the same.
pub const SIMILAR: f32 = 0.7;

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Origin {
    /// The model wrote it.
    #[default]
    Model,
    /// It is the correction of this very source, from which the model's own answer differs.
    Correction,
    /// It is the correction of a similar source.
    SimilarCorrection {
        /// At least [`SIMILAR`], less than 1.
        similarity: f32,
    },
}

/// The correction of a source that is similar to the one in question.
#[derive(Clone, Debug, PartialEq)]
pub struct Suggestion {
    /// The source that was corrected.
    pub source: String,
    /// Its correction.
    pub target: String,
    /// At least [`SIMILAR`], less than 1.
    pub similarity: f32,
}

/// Corrections by the tokens of their sources.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Vec<Correction>);

#[derive(Clone, Debug)]
struct Correction {
    tokens: Vec<u32>,
    source: String,
    target: String,
}

impl Memory {
    /// Adds a correction; an earlier one of the same source is forgotten.
    pub fn insert(&mut self, tokens: Vec<u32>, source: &str, target: &str) {
        self.0.retain(|correction| correction.tokens != tokens);
        self.0.push(Correction { tokens, source: source.into(), target: target.into() });
    }

    /// The correction of the most similar source, the latest of several, if it is similar enough; its similarity is 1
    /// for the same tokens.
    pub fn find(&self, tokens: &[u32]) -> Option<Suggestion> {
        let similarities =
            self.0.iter().map(|correction| (similarity(&correction.tokens, tokens), correction));
        let similar = similarities.filter(|(similarity, _)| *similarity >= SIMILAR);
        let (similarity, correction) = similar.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
        let Correction { source, target, .. } = correction.clone();
        Some(Suggestion { source, target, similarity })
    }
}

/// The similarity of two lists of tokens, of which one is not empty.
fn similarity(a: &[u32], b: &[u32]) -> f32 {
    let longer = a.len().max(b.len()) as f32;
    // The difference in length is the least distance.
    if a.len().abs_diff(b.len()) as f32 > longer * (1.0 - SIMILAR) {
        return 0.0;
    }
    1.0 - edit_distance(a, b) as f32 / longer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_and_latest_correction_is_found() {
        let mut memory = Memory::default();
        assert_eq!(memory.find(&[1, 2, 3]), None);
        memory.insert(Vec::from([1, 2, 3, 4]), "a", "first");
        memory.insert(Vec::from([1, 2, 3, 5]), "b", "second");
        memory.insert(Vec::from([1, 2, 3, 4]), "a", "corrected again");
        let found = |tokens: &[u32]| memory.find(tokens).map(|found| (found.target, found.similarity));
        assert_eq!(found(&[1, 2, 3, 4]), Some(("corrected again".into(), 1.0)));
        assert_eq!(found(&[1, 2, 3, 5]), Some(("second".into(), 1.0)));
        assert_eq!(found(&[1, 2, 3, 6]), Some(("corrected again".into(), 0.75)), "the latest of both");
        assert_eq!(found(&[1, 2, 3, 4, 4]), Some(("corrected again".into(), 0.8)));
        assert_eq!(found(&[1, 2, 6, 6]), None, "half of it");
        assert_eq!(found(&[1, 2]), None);
        assert_eq!(found(&[1, 2, 3, 4, 5, 6, 7]), None);
    }
}
