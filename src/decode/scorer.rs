//! What a search asks of a model.

use crate::error::Result;

/// Gives the logits of the next token for every hypothesis of a batch.
///
/// A scorer keeps its caches by ancestry: a step names, for every hypothesis, the row of the previous step that it
/// continues, so that beams reorder, split and end without any tensor being moved.
pub trait Scorer {
    /// Columns in a row of logits: the size of the target vocabulary.
    fn vocabulary(&self) -> usize;

    /// Feeds one token to each hypothesis and gives the logits of the tokens after them, [rows, vocabulary], which the
    /// search may change in place.
    ///
    /// `tokens` and `parents` have one element a row. `parents[i]` is the row of the previous step that hypothesis `i`
    /// continues; at the first step it is the index of the sentence in the batch. From one step to the next rows may
    /// become more or fewer and may come in any order.
    ///
    /// # Errors
    /// Whatever keeps the model from computing the step; the search ends with the same error.
    fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<&mut [f32]>;

    /// Cross-attention of the last step for `row`, averaged over the heads of the last decoder layer: one weight for
    /// each source token of the row's sentence. `None` when the scorer was not asked to keep it.
    fn attention(&self, row: usize) -> Option<&[f32]>;
}
