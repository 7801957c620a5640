//! What computes logits: the model's session, or the engine of a delegate.

use core::ops::Range;

use crate::decode::{Columns, Logits, Scorer};
use crate::delegate::Compiled;
use crate::error::Result;
use crate::model::{Session, SessionShape};

/// Encodes sources and computes logits. Used as an object only: the code of the search is there once, and that of
/// delegates only in programs that name one.
pub(super) trait Runner: Scorer + Send + Sync {
    /// The most that it can do at once.
    fn shape(&self) -> &SessionShape;

    /// Encodes a batch and gets ready for its first step.
    ///
    /// # Errors
    /// As [`Session::encode`], and those of a delegate.
    fn encode(&mut self, sources: &[&[u32]]) -> Result<()>;

    /// The session, if it is one.
    fn session(&mut self) -> Option<&mut Session> {
        None
    }

    /// The engine of a delegate, if it is one.
    fn compiled(&self) -> Option<&Compiled> {
        None
    }
}

impl Runner for Session {
    fn shape(&self) -> &SessionShape {
        Self::shape(self)
    }

    fn encode(&mut self, sources: &[&[u32]]) -> Result<()> {
        Self::encode(self, sources.iter().copied())
    }

    fn session(&mut self) -> Option<&mut Session> {
        Some(self)
    }
}

impl Runner for Compiled {
    fn shape(&self) -> &SessionShape {
        Self::shape(self)
    }

    fn encode(&mut self, sources: &[&[u32]]) -> Result<()> {
        Self::encode(self, sources)
    }

    fn compiled(&self) -> Option<&Compiled> {
        Some(self)
    }
}

impl Scorer for Session {
    fn vocabulary(&self) -> usize {
        self.model().spec().target_vocabulary
    }

    fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<()> {
        Session::step(self, tokens, parents).map(|_| ())
    }

    fn step_highest(&mut self, tokens: &[u32], parents: &[u32], except: &[u32]) -> Result<()> {
        Session::step_highest(self, tokens, parents, except).map(|_| ())
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
