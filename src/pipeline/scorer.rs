//! What computes logits, as the search sees it: the model's session, or the engine of a delegate.

use core::ops::Range;

use crate::decode::{Columns, Logits, Scorer};
use crate::delegate::Compiled;
use crate::error::Result;
use crate::model::Session;

impl Scorer for Session {
    fn vocabulary(&self) -> usize {
        self.model().spec().target_vocabulary
    }

    fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<()> {
        Session::step(self, tokens, parents).map(|_| ())
    }

    fn logits(&mut self, rows: Range<usize>) -> Logits<'_> {
        let vocabulary = self.vocabulary();
        match Session::logits(self, rows) {
            (values, Some(tokens)) => Logits { values, columns: Columns::Listed(tokens) },
            (values, None) => Logits::full(values, vocabulary),
        }
    }

    fn chose(&mut self, rows: Range<usize>) {
        Session::chose(self, rows);
    }

    fn missed(&mut self, sentence: usize) -> Option<usize> {
        Session::missed(self, sentence)
    }

    fn attention(&self, row: usize) -> Option<&[f32]> {
        Session::attention(self, row)
    }
}

impl Scorer for Compiled {
    fn vocabulary(&self) -> usize {
        self.model().spec().target_vocabulary
    }

    fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<()> {
        Self::step(self, tokens, parents)
    }

    fn logits(&mut self, rows: Range<usize>) -> Logits<'_> {
        let vocabulary = self.vocabulary();
        let logits = Self::logits(self);
        Logits::full(&mut logits[rows.start * vocabulary..rows.end * vocabulary], vocabulary)
    }

    fn attention(&self, _row: usize) -> Option<&[f32]> {
        None
    }
}
