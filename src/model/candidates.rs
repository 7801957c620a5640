//! The target tokens that are listed for the sentences of a batch, with their rows of the output projection.

use alloc::vec::Vec;

use super::plan::Plan;
use super::spec::Presence;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Shortlist;
use crate::nn::{Context, Linear};
use crate::tensor::{Matrix, PANEL_ROWS, PackedMatrix};

/// The listed tokens of every sentence.
///
/// Each sentence has its own: what is computed for it does not depend on its batch. Their rows of the output projection
/// are copied into panels when the batch begins, so that its steps read nothing else.
pub(super) struct Candidates {
    /// [B, C], ascending in each sentence.
    tokens: Vec<u32>,
    /// Number of tokens of each sentence.
    counts: Vec<usize>,
    /// [B * C, D]
    rows: PackedMatrix,
    /// [B, C]; empty for a projection without bias.
    bias: Vec<f32>,
    /// A bit for each token of the vocabulary.
    listed: Vec<u64>,
    /// C, a multiple of the rows of a panel.
    capacity: usize,
}

impl Candidates {
    /// Room for the batches of `plan`; `None` if it plans no shortlist.
    ///
    /// # Errors
    /// As [`Plan::zeroed`].
    pub fn new(plan: &Plan) -> Result<Option<Self>> {
        let Some(listing) = plan.listing else { return Ok(None) };
        let all = plan.batch.saturating_mul(listing.capacity);
        let rows = PackedMatrix::zeroed(listing.dtype, all, listing.columns);
        Ok(Some(Self {
            tokens: plan.zeroed(all)?,
            counts: plan.zeroed(plan.batch)?,
            rows: rows.ok_or_else(|| plan.refused())?,
            bias: plan.zeroed(if listing.bias == Presence::Present { all } else { 0 })?,
            listed: plan.zeroed(listing.bits)?,
            capacity: listing.capacity,
        }))
    }

    /// Forgets the sentences: logits are of the whole vocabulary until there are some.
    pub fn clear(&mut self) {
        self.counts.clear();
    }

    /// Whether the batch is decoded by listed tokens.
    pub fn in_use(&self) -> bool {
        !self.counts.is_empty()
    }

    /// Lists the tokens of the next sentence, `source`, and copies their rows of `output`.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] for lists that break the format's rules.
    pub fn push(
        &mut self,
        ctx: &Context<'_>,
        output: &Linear,
        shortlist: &Shortlist<'_>,
        source: &[u32],
    ) -> Result<()> {
        let first = self.counts.len() * self.capacity;
        let count = self.list(shortlist, source)?;
        let tokens = &self.tokens[first..first + count];
        self.rows.gather(first / PANEL_ROWS, &output.weight.matrix(ctx), tokens);
        if let Some(bias) = &output.bias {
            let bias = bias.rows(ctx);
            for (to, &token) in self.bias[first..].iter_mut().zip(tokens) {
                *to = bias[token as usize];
            }
        }
        self.counts.push(count);
        Ok(())
    }

    /// Writes what is always listed and what is for `source` to the tokens of the next sentence; gives their number.
    fn list(&mut self, shortlist: &Shortlist<'_>, source: &[u32]) -> Result<usize> {
        self.listed.fill(0);
        let mut mark = |token: u32| {
            let known = (token as usize) < shortlist.target_vocabulary();
            let bits =
                self.listed.get_mut(token as usize / 64).filter(|_| known).ok_or_else(|| beyond(token))?;
            *bits |= 1 << (token % 64);
            Ok(())
        };
        shortlist.always().iter().try_for_each(&mut mark)?;
        for &token in source {
            shortlist.of(token)?.iter().try_for_each(&mut mark)?;
        }
        let tokens = &mut self.tokens[self.counts.len() * self.capacity..][..self.capacity];
        let mut count = 0;
        for (word, &bits) in self.listed.iter().enumerate() {
            let mut left = bits;
            while left != 0 {
                tokens[count] = word as u32 * 64 + left.trailing_zeros();
                left &= left - 1;
                count += 1;
            }
        }
        Ok(count)
    }

    /// The tokens of `sentence`, ascending.
    pub fn of(&self, sentence: usize) -> &[u32] {
        &self.tokens[sentence * self.capacity..][..self.counts[sentence]]
    }

    /// The rows of the output projection for the tokens of `sentence`, and their bias.
    pub fn rows(&self, sentence: usize) -> (Matrix<'_>, Option<&[f32]>) {
        let (first, count) = (sentence * self.capacity, self.counts[sentence]);
        (self.rows.view_of(first / PANEL_ROWS, count), self.bias.get(first..first + count))
    }
}

fn beyond(token: u32) -> Error {
    let message = alloc::format!("section shortlist: token {token} is beyond the target vocabulary");
    Error::new(ErrorKind::Corrupt, message)
}
