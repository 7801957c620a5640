//! The logits of greedy search over the whole vocabulary: rough ones, and exact ones where a token can be the best.
//!
//! With the rough copy S of the output projection W, its distances d ([`Screen`]) and a row x of the decoder, the logit of
//! token v is at most `S_v x + d_v |x|`. What is below the exact logit of the token that is best by S cannot be the best.
//! Reading S costs half of what reading W does, which is all that counts where rows are few.

use crate::format::Screen;
use crate::kernels::{Activation, Activations, Epilogue, Residual, math};
use crate::nn::{Context, Linear, Quantized, project};
use crate::tensor::{ColumnsMut, PANEL_ROWS};

/// Most rows that are screened: more are limited by arithmetic, of which screening saves none.
pub(super) const MOST_ROWS: usize = 4;

/// More than the relative error that rounding to f32 can make in a logit or its bound.
const ROUNDING: f32 = 1.0 / (1 << 20) as f32;

/// The logits of the rows `x` [M, D], rough or exact, in `logits` [M, V]: of each row the highest of the tokens not in
/// `except` is exact, and the exact ones of the others are not above it. Those of `except` are any numbers.
pub(super) fn screened(
    ctx: &Context<'_>,
    output: &Linear,
    screen: &Screen<'_>,
    x: &[f32],
    except: &[u32],
    quantized: &mut Quantized,
    logits: &mut [f32],
) {
    let weight = output.weight.matrix(ctx);
    let rough = screen.rough_copy_of(&weight).expect("the model has checked the screen");
    let bias = output.bias.as_ref().map(|bias| bias.rows(ctx));
    let epilogue = Epilogue { bias, activation: Activation::Identity, residual: Residual::None };
    let activations = quantized.prepare(ctx, x, &weight);
    project(ctx, activations, &rough, &epilogue, 0..rough.panels(), logits);
    let (vocabulary, width) = (weight.rows(), weight.columns());
    let rows = x.chunks_exact(width).zip(logits.chunks_exact_mut(vocabulary));
    for (row, (x, logits)) in rows.enumerate() {
        let activations = activations.rows(row..row + 1, width);
        let compute = |panel: usize, logits: &mut [f32]| {
            let out = &mut logits[panel * PANEL_ROWS..];
            let columns = out.len().min(PANEL_ROWS);
            let out = ColumnsMut::new(&mut out[..columns], columns);
            ctx.kernels.gemm(activations, &weight, &epilogue, panel..panel + 1, out);
        };
        for &token in except {
            logits[token as usize] = f32::NEG_INFINITY;
        }
        let best = ctx.kernels.argmax(logits);
        compute(best / PANEL_ROWS, logits);
        let bar = logits[best];
        let length = length(x, activations);
        for (panel, distances) in screen.distances().as_chunks().0.iter().enumerate() {
            let bounds = Bounds { distances, length, bar };
            let first = panel * PANEL_ROWS;
            let bias = bias.map_or(&[][..], |bias| &bias[first..]);
            if bounds.are_reached(first_of(&logits[first..], f32::NEG_INFINITY), first_of(bias, 0.0)) {
                compute(panel, logits);
            }
        }
    }
}

/// What the logits of a panel are held against.
struct Bounds<'a> {
    /// Of each row of the rough copy.
    distances: &'a [f32; PANEL_ROWS],
    /// That of the decoder's row, quantized.
    length: f32,
    /// The logit of a token that may be chosen.
    bar: f32,
}

impl Bounds<'_> {
    /// Whether a token with such a `rough` logit can have one as high as the bar.
    fn are_reached(&self, rough: [f32; PANEL_ROWS], bias: [f32; PANEL_ROWS]) -> bool {
        let bar = self.bar - math::abs(self.bar) * ROUNDING;
        // All eight are looked at before the branch: that is vector code.
        (0..PANEL_ROWS).fold(false, |any, i| {
            let rounding = (math::abs(rough[i]) + math::abs(bias[i])) * ROUNDING;
            any | (rough[i] + self.distances[i] * self.length + rounding >= bar)
        })
    }
}

/// The first 8 numbers, or what there is of them, filled up.
fn first_of(x: &[f32], filling: f32) -> [f32; PANEL_ROWS] {
    x.first_chunk().copied().unwrap_or_else(|| {
        let mut filled = [filling; PANEL_ROWS];
        filled[..x.len()].copy_from_slice(x);
        filled
    })
}

/// At least the Euclidean length of `x` [K] as it was quantized, which moves no element by more than half its scale.
fn length(x: &[f32], quantized: Activations<'_>) -> f32 {
    let Activations::I8 { scales: &[scale], .. } = quantized else { return f32::INFINITY };
    let squares = x.iter().map(|x| f64::from(math::abs(*x)) + 0.501 * f64::from(scale)).map(|x| x * x);
    math::double::sqrt(squares.sum()) as f32 * (1.0 + ROUNDING)
}
