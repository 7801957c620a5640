//! From the decoder's last rows to logits: of the whole vocabulary, or of the tokens that are listed for a sentence.

use alloc::vec::Vec;
use core::ops::Range;

use super::cache::Hypotheses;
use super::candidates::Candidates;
use super::plan::Plan;
use super::screening::{MOST_ROWS, screened};
use super::verification::Verification;
use crate::error::Result;
use crate::format::Screen;
use crate::kernels::{Activation, Epilogue, Residual};
use crate::nn::{Context, Linear, Quantized, project};
use crate::tensor::Aligned;

/// The logits of a step and what they are computed by.
pub(super) struct Output {
    /// Row after row, each with as many as its sentence has columns.
    logits: Aligned<f32>,
    /// Where the rows start, and their end [R + 1].
    starts: Vec<usize>,
    /// Where logits are computed for listed tokens only.
    pub candidates: Option<Candidates>,
    verification: Option<Verification>,
}

impl Output {
    /// Room for the steps of `plan`.
    ///
    /// # Errors
    /// As [`Plan::zeroed`].
    pub fn new(plan: &Plan) -> Result<Self> {
        Ok(Self {
            logits: plan.aligned(plan.logits)?,
            starts: plan.zeroed(plan.rows + 1)?,
            candidates: Candidates::new(plan)?,
            verification: Verification::new(plan)?,
        })
    }

    /// The logits of the decoder's rows `x` [M, D]: those that [`logits`](Self::logits) gives by row. With a screen, and
    /// tokens that it is not to look for, those over the whole vocabulary may be [`screened`].
    pub fn forward(
        &mut self,
        ctx: &Context<'_>,
        output: &Linear,
        hypotheses: &Hypotheses,
        x: &[f32],
        screen: Option<(&Screen<'_>, &[u32])>,
        quantized: &mut Quantized,
    ) -> &mut [f32] {
        let weight = output.weight.matrix(ctx);
        let (rows, full) = (hypotheses.len(), weight.rows());
        let candidates = self.candidates.as_ref().filter(|candidates| candidates.in_use());
        let columns = |row| candidates.map_or(full, |listed| listed.of(hypotheses.sentence(row)).len());
        self.starts.clear();
        self.starts.push(0);
        let mut end = 0;
        for row in 0..rows {
            end += columns(row);
            self.starts.push(end);
        }
        match (candidates, screen) {
            (None, Some((screen, except))) if rows <= MOST_ROWS => {
                screened(ctx, output, screen, x, except, quantized, &mut self.logits[..end]);
            }
            (None, _) => {
                let logits = &mut self.logits[..end]; // [M, V]
                output.forward(ctx, x, quantized, Activation::Identity, Residual::None, logits);
            }
            (Some(candidates), _) => {
                let activations = quantized.prepare(ctx, x, &weight);
                let mut first = 0;
                while first < rows {
                    let sentence = hypotheses.sentence(first);
                    let same = (first..rows).take_while(|&row| hypotheses.sentence(row) == sentence).count();
                    let (weight, bias) = candidates.rows(sentence);
                    let epilogue =
                        Epilogue { bias, activation: Activation::Identity, residual: Residual::None };
                    let logits = &mut self.logits[self.starts[first]..self.starts[first + same]];
                    let activations = activations.rows(first..first + same, weight.columns());
                    project(ctx, activations, &weight, &epilogue, 0..weight.panels(), logits);
                    first += same;
                }
            }
        }
        self.all_logits()
    }

    /// The logits of `rows`, which are of `sentence`, as they were computed and since changed, and what they are of.
    pub fn logits(&mut self, rows: Range<usize>, sentence: usize) -> (&mut [f32], Option<&[u32]>) {
        let listed = self.candidates.as_ref().filter(|candidates| candidates.in_use());
        let logits = &mut self.logits[self.starts[rows.start]..self.starts[rows.end]];
        (logits, listed.map(|candidates| candidates.of(sentence)))
    }

    /// The logits of all rows.
    pub fn all_logits(&mut self) -> &mut [f32] {
        let end = self.starts.last().copied().unwrap_or(0);
        &mut self.logits[..end]
    }

    /// The tokens that are listed for `sentence`; `None` where logits are of the whole vocabulary.
    pub fn listed(&self, sentence: usize) -> Option<&[u32]> {
        self.candidates.as_ref().filter(|candidates| candidates.in_use()).map(|listed| listed.of(sentence))
    }

    /// Forgets the batch: logits are of the whole vocabulary until tokens are listed.
    pub fn clear(&mut self) {
        if let Some(candidates) = &mut self.candidates {
            candidates.clear();
        }
        if let Some(verification) = &mut self.verification {
            verification.clear();
        }
    }

    /// Of the verified choices for `sentence` those that missed a better token.
    pub fn missed(&self, sentence: usize) -> Option<usize> {
        self.listed(sentence)?;
        self.verification.as_ref()?.missed(sentence)
    }

    /// Notes the rows `rows` of `x` [M, D], whose choices are to be verified.
    pub fn note(&mut self, hypotheses: &Hypotheses, x: &[f32], rows: Range<usize>) {
        let Self { logits, starts, verification: Some(verification), candidates: Some(candidates) } = self
        else {
            return;
        };
        if candidates.in_use() {
            for row in rows {
                let logits = &logits[starts[row]..starts[row + 1]];
                verification.note(hypotheses.sentence(row), row, x, logits);
            }
        }
    }

    /// Verifies the choices that were noted, if there are at least `enough`. The logits of the last step are lost.
    pub fn verify(&mut self, ctx: &Context<'_>, output: &Linear, quantized: &mut Quantized, enough: usize) {
        if let (Some(verification), Some(candidates)) = (&mut self.verification, &self.candidates)
            && verification.noted() >= enough
        {
            verification.run(ctx, output, candidates, quantized, &mut self.logits);
        }
    }
}
