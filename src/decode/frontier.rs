//! Where a search stands: the live hypotheses of one sentence.

use alloc::vec::Vec;

use super::history::Branch;
use super::scorer::Columns;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::Kernels;

/// A live hypothesis: a row of the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub branch: Branch,
    /// Sum of the log-probabilities of its tokens.
    pub log_prob: f32,
    /// Which of the sentence's random sequences it draws from.
    pub sample: usize,
}

/// A live hypothesis and a token that may come next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub row: usize,
    pub token: u32,
    /// Log-probability of the token.
    pub token_log_prob: f32,
    /// Sum of the log-probabilities with the token.
    pub log_prob: f32,
    pub sample: usize,
}

/// The live hypotheses of one sentence with the logits of their next tokens.
pub(super) struct Frontier<'a> {
    pub kernels: &'static Kernels,
    /// \[R\]
    pub rows: &'a [Row],
    /// Index of `rows[0]` in the batch.
    pub first: usize,
    /// [R, C]
    pub logits: &'a [f32],
    /// The tokens of the C columns, ascending.
    pub columns: Columns<'a>,
    /// Whether constraints may have forbidden tokens.
    pub constrained: bool,
}

impl<'a> Frontier<'a> {
    /// Each hypothesis: its index in the batch, itself, and its logits \[C\].
    pub fn iter(&self) -> impl Iterator<Item = (usize, &'a Row, &'a [f32])> {
        let logits = self.logits.chunks_exact(self.columns.len());
        self.rows.iter().zip(logits).enumerate().map(|(i, (row, logits))| (self.first + i, row, logits))
    }

    /// [`normalizer`] of the logits of one of the hypotheses.
    pub fn normalizer(&self, logits: &[f32]) -> Result<Option<f32>> {
        normalizer(self.kernels, logits, self.constrained)
    }
}

/// What is subtracted from `logits` to make them log-probabilities, or `None` if every token is forbidden, which only
/// logits that were `constrained` may be.
///
/// # Errors
/// [`ErrorKind::NonFinite`] if there is a NaN or a positive infinity, or nothing but negative infinity.
pub(super) fn normalizer(kernels: &Kernels, logits: &[f32], constrained: bool) -> Result<Option<f32>> {
    let sum = kernels.log_sum_exp(logits);
    if sum.is_finite() {
        return Ok(Some(sum));
    }
    if constrained && logits.iter().all(|&logit| logit == f32::NEG_INFINITY) {
        return Ok(None);
    }
    Err(Error::new(
        ErrorKind::NonFinite,
        "the logits hold NaN or infinity: the model or its input is damaged",
    ))
}

/// The error of a hypothesis that no token can continue.
pub(super) fn nothing_left() -> Error {
    let message = "every token is forbidden: relax suppressed, no_repeat_ngram or min_length";
    Error::new(ErrorKind::InvalidOption, message)
}

/// Log-probability of the token with `logit`: never above 0, whatever the rounding.
pub(super) fn log_prob(logit: f32, normalizer: f32) -> f32 {
    (logit - normalizer).min(0.0)
}

/// Greedy search: the most probable token of each hypothesis. Without `scores` the log-probabilities are 0.
pub(super) fn most_probable(
    frontier: &Frontier,
    scores: bool,
    candidates: &mut Vec<Candidate>,
) -> Result<()> {
    for (row, hypothesis, logits) in frontier.iter() {
        let column = frontier.kernels.argmax(logits);
        let logit = logits[column];
        let token_log_prob = if scores || !logit.is_finite() {
            log_prob(logit, frontier.normalizer(logits)?.ok_or_else(nothing_left)?)
        } else {
            0.0
        };
        let (token, log_prob) = (frontier.columns.token(column), hypothesis.log_prob + token_log_prob);
        candidates.push(Candidate { row, token, token_log_prob, log_prob, sample: 0 });
    }
    Ok(())
}
