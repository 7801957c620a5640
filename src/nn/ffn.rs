//! Position-wise feed-forward networks.

use super::{Context, Linear, Norm, NormOrder, Quantized};
use crate::kernels::{Activation, Residual};

/// Rows that go through a feed-forward network at once: its wide hidden rows then stay in the cache, and a long
/// batch does not need room for all of them.
pub const FFN_ROWS: usize = 64;

/// How the hidden values come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FfnShape {
    /// `activation(x W1 + b1)` ("Attention Is All You Need", section 3.3).
    Plain,
    /// `activation(x Wg) * (x Wu)` (Shazeer 2020, "GLU Variants Improve Transformer").
    Gated,
}

/// A feed-forward sub-layer: D to F to D.
#[derive(Clone, Debug)]
pub struct FeedForward {
    /// [F, D], or gate and up stacked [2F, D].
    pub up: Linear,
    /// [D, F].
    pub down: Linear,
    /// The sub-layer's normalization.
    pub norm: Norm,
    /// Plain or gated.
    pub shape: FfnShape,
    /// The activation.
    pub activation: Activation,
    /// F.
    pub width: usize,
}

/// Buffers of a feed-forward sub-layer, for [`FFN_ROWS`] rows or as many as there are.
pub struct FfnBuffers<'a> {
    /// [rows, F], or [rows, 2F] where gated.
    pub up: &'a mut [f32],
    /// [rows, F] where gated, unused otherwise.
    pub gated: &'a mut [f32],
    /// [rows, D].
    pub normed: &'a mut [f32],
}

impl FeedForward {
    /// Adds the sub-layer to the rows of `x` [M, D].
    pub fn forward(
        &self,
        ctx: &Context<'_>,
        order: NormOrder,
        d_model: usize,
        buffers: FfnBuffers<'_>,
        quantized: &mut Quantized,
        x: &mut [f32],
    ) {
        for x in x.chunks_mut(FFN_ROWS * d_model) {
            let rows = x.len() / d_model;
            let input = order.enter(ctx, &self.norm, x, buffers.normed);
            let hidden = match self.shape {
                FfnShape::Plain => {
                    let up = &mut buffers.up[..rows * self.width];
                    self.up.forward(ctx, input, quantized, self.activation, Residual::None, up);
                    up
                }
                FfnShape::Gated => {
                    let up = &mut buffers.up[..rows * 2 * self.width];
                    let gated = &mut buffers.gated[..rows * self.width];
                    self.up.forward(ctx, input, quantized, Activation::Identity, Residual::None, up);
                    for (up, gated) in up.chunks_exact(2 * self.width).zip(gated.chunks_exact_mut(self.width))
                    {
                        ctx.kernels.gate(self.activation, up, gated);
                    }
                    gated
                }
            };
            self.down.forward(ctx, hidden, quantized, Activation::Identity, Residual::Add, x);
            order.leave(ctx, &self.norm, x, buffers.normed);
        }
    }
}
