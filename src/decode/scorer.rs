//! What a search asks of a model.

use core::ops::Range;

use crate::error::Result;

/// Gives the logits of the next token for every hypothesis of a batch.
///
/// A scorer keeps its caches by ancestry: a step names, for every hypothesis, the row of the previous step that it
/// continues, so that beams reorder, split and end without any tensor being moved.
pub trait Scorer {
    /// Size of the target vocabulary.
    fn vocabulary(&self) -> usize;

    /// Feeds one token to each hypothesis and computes the logits of the tokens after them.
    ///
    /// `tokens` and `parents` have one element a row. `parents[i]` is the row of the previous step that hypothesis `i`
    /// continues; at the first step it is the index of the sentence in the batch. From one step to the next rows may
    /// become more or fewer and may come in any order.
    ///
    /// # Errors
    /// Whatever keeps the model from computing the step; the search ends with the same error.
    fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<()>;

    /// As [`step`](Self::step), for a search that reads only the highest logit of each row, of the tokens not in `except`:
    /// the other logits may be any numbers that are not higher, and those of `except` any numbers at all.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    fn step_highest(&mut self, tokens: &[u32], parents: &[u32], _except: &[u32]) -> Result<()> {
        self.step(tokens, parents)
    }

    /// The logits of the last step for `rows`, all of one sentence; the search may change them in place. The columns
    /// of a sentence are the same at every step.
    fn logits(&mut self, rows: Range<usize>) -> Logits<'_>;

    /// Told after the continuations of `rows`, all of one sentence, were chosen by their logits, which are as the
    /// search left them: a scorer that gives only listed tokens can note here what it has to verify.
    fn chose(&mut self, _rows: Range<usize>) {}

    /// In how many of the choices that it was told of since the batch began a token that is not listed for `sentence`
    /// had at least the logit of every token that is. `None` if this scorer does not verify.
    fn missed(&mut self, _sentence: usize) -> Option<usize> {
        None
    }

    /// Cross-attention of the last step for `row`, averaged over the heads of the last decoder layer: one weight for
    /// each source token of the row's sentence. `None` when the scorer was not asked to keep it.
    fn attention(&self, row: usize) -> Option<&[f32]>;
}

/// Logits of some rows, and which tokens they are of.
#[derive(Debug)]
pub struct Logits<'a> {
    /// [rows, columns]
    pub values: &'a mut [f32],
    /// The token of each column.
    pub columns: Columns<'a>,
}

impl<'a> Logits<'a> {
    /// Logits of the whole vocabulary: `values` [rows, `vocabulary`].
    pub fn full(values: &'a mut [f32], vocabulary: usize) -> Self {
        Self { values, columns: Columns::All(vocabulary) }
    }

    /// Each row by itself.
    pub fn rows(&mut self) -> impl Iterator<Item = Logits<'_>> {
        let columns = self.columns;
        self.values.chunks_exact_mut(columns.len().max(1)).map(move |values| Logits { values, columns })
    }

    /// The logit of `token` in the first row, if the token has a column.
    pub(super) fn of(&mut self, token: u32) -> Option<&mut f32> {
        self.values.get_mut(self.columns.column(token)?)
    }
}

/// Which tokens the columns of logits stand for, in ascending order.
#[derive(Clone, Copy, Debug)]
pub enum Columns<'a> {
    /// Column i is token i; there are so many.
    All(usize),
    /// Column i is the i-th of these tokens, which ascend.
    Listed(&'a [u32]),
}

impl Columns<'_> {
    /// Number of columns.
    pub fn len(&self) -> usize {
        match self {
            Self::All(count) => *count,
            Self::Listed(tokens) => tokens.len(),
        }
    }

    /// Whether there is no column.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The token of `column`.
    ///
    /// # Panics
    /// If there is no such column.
    pub fn token(&self, column: usize) -> u32 {
        match self {
            Self::All(_) => column as u32,
            Self::Listed(tokens) => tokens[column],
        }
    }

    /// The column of `token`, if it has one.
    pub fn column(&self, token: u32) -> Option<usize> {
        match self {
            Self::All(count) => Some(token as usize).filter(|token| token < count),
            Self::Listed(tokens) => tokens.binary_search(&token).ok(),
        }
    }
}
