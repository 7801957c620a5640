//! Holding choices among listed tokens against the whole vocabulary.
//!
//! A row of the decoder and the highest logit of its listed tokens are noted at every choice, and multiplied with the
//! whole output projection only when many are: the weights, which a single row would wait for, are then read once for
//! all of them.

use alloc::vec::Vec;

use super::candidates::Candidates;
use super::plan::Plan;
use crate::error::Result;
use crate::kernels::{Activation, Epilogue, Residual};
use crate::nn::{Context, Linear, Quantized, project};
use crate::tensor::PANEL_ROWS;

/// Rows that are enough to be verified together: more make a product no faster.
pub(super) const ENOUGH: usize = 32;

/// The choices that are not verified yet, and what was found.
pub(super) struct Verification {
    /// The decoder's rows [P, D].
    x: Vec<f32>,
    /// Of each the sentence, and the logit that no token without a column may reach.
    sentences: Vec<u32>,
    bars: Vec<f32>,
    /// Choices of each sentence in which one reached it.
    missed: Vec<u32>,
    width: usize,
}

impl Verification {
    /// Room for the steps of `plan`; `None` if it plans none.
    ///
    /// # Errors
    /// As [`Plan::zeroed`].
    pub fn new(plan: &Plan) -> Result<Option<Self>> {
        let (Some(listing), 1..) = (plan.listing, plan.verified) else { return Ok(None) };
        let width = listing.columns;
        Ok(Some(Self {
            x: plan.zeroed(plan.verified.saturating_mul(width))?,
            sentences: cleared(plan.zeroed(plan.verified)?),
            bars: cleared(plan.zeroed(plan.verified)?),
            missed: plan.zeroed(plan.batch)?,
            width,
        }))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.sentences.clear();
        self.bars.clear();
        self.missed.fill(0);
    }

    /// Number of choices that are not verified yet.
    pub fn noted(&self) -> usize {
        self.bars.len()
    }

    /// Notes row `row` of `x` [M, D], for which a token of `sentence` was chosen by these `logits`.
    pub fn note(&mut self, sentence: usize, row: usize, x: &[f32], logits: &[f32]) {
        let (d, place) = (self.width, self.noted() * self.width);
        self.x[place..place + d].copy_from_slice(&x[row * d..][..d]);
        self.sentences.push(sentence as u32);
        self.bars
            .push(logits.iter().fold(f32::NEG_INFINITY, |max, &logit| if logit > max { logit } else { max }));
    }

    /// Verifies what was noted. `scratch` has room for one panel of each row.
    pub fn run(
        &mut self,
        ctx: &Context<'_>,
        output: &Linear,
        candidates: &Candidates,
        quantized: &mut Quantized,
        scratch: &mut [f32],
    ) {
        let (rows, weight) = (self.noted(), output.weight.matrix(ctx));
        let bias = output.bias.as_ref().map(|bias| bias.rows(ctx));
        let epilogue = Epilogue { bias, activation: Activation::Identity, residual: Residual::None };
        let activations = quantized.prepare(ctx, &self.x[..rows * self.width], &weight);
        let (panels, block) = (weight.panels(), scratch.len() / (rows * PANEL_ROWS));
        for start in (0..panels).step_by(block) {
            let end = panels.min(start + block);
            let first = start * PANEL_ROWS;
            let columns = weight.rows().min(end * PANEL_ROWS) - first;
            let logits = &mut scratch[..rows * columns];
            project(ctx, activations, &weight, &epilogue, start..end, logits);
            for (row, logits) in logits.chunks_exact(columns).enumerate() {
                let (bar, sentence) = (self.bars[row], self.sentences[row] as usize);
                let unlisted = |token: u32| candidates.of(sentence).binary_search(&token).is_err();
                let reaches = |(token, &logit): (u32, &f32)| logit >= bar && unlisted(token);
                if logits[ctx.kernels.argmax(logits)] >= bar && (first as u32..).zip(logits).any(reaches) {
                    self.missed[sentence] += 1;
                    self.bars[row] = f32::INFINITY;
                }
            }
        }
        self.sentences.clear();
        self.bars.clear();
    }

    /// Choices of `sentence` in which a token that is not listed had at least the logit of every listed one.
    pub fn missed(&self, sentence: usize) -> Option<usize> {
        self.missed.get(sentence).map(|&missed| missed as usize)
    }
}

fn cleared<T>(mut buffer: Vec<T>) -> Vec<T> {
    buffer.clear();
    buffer
}
