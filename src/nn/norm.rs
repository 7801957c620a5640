//! Normalization and where it stands.

use super::{Context, Stored};

/// A normalization of rows [M, D].
#[derive(Clone, Debug)]
pub enum Norm {
    /// Layer normalization (Ba et al. 2016): `(x - mean) / sqrt(variance + epsilon) * weight + bias`.
    Layer {
        /// \[D\].
        weight: Stored,
        /// \[D\].
        bias: Stored,
        /// Added to the variance.
        epsilon: f32,
    },
    /// Root-mean-square normalization (Zhang and Sennrich 2019): `x / sqrt(mean(x^2) + epsilon) * weight`.
    Rms {
        /// \[D\].
        weight: Stored,
        /// Added to the mean square.
        epsilon: f32,
    },
}

impl Norm {
    /// The normalized rows of `x` [M, D] to `out` [M, D].
    pub fn forward(&self, ctx: &Context<'_>, x: &[f32], out: &mut [f32]) {
        match self {
            Self::Layer { weight, bias, epsilon } => {
                let (weight, bias) = (weight.rows(ctx), bias.rows(ctx));
                for (x, out) in x.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len())) {
                    ctx.kernels.layer_norm(x, weight, bias, *epsilon, out);
                }
            }
            Self::Rms { weight, epsilon } => {
                let weight = weight.rows(ctx);
                for (x, out) in x.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len())) {
                    ctx.kernels.rms_norm(x, weight, *epsilon, out);
                }
            }
        }
    }

    /// Normalizes `x` [M, D] in place by way of `scratch` (at least as long).
    pub fn forward_in_place(&self, ctx: &Context<'_>, x: &mut [f32], scratch: &mut [f32]) {
        let scratch = &mut scratch[..x.len()];
        self.forward(ctx, x, scratch);
        x.copy_from_slice(scratch);
    }
}

/// Where a sub-layer `f` has its normalization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormOrder {
    /// `x + f(norm(x))`.
    Pre,
    /// `norm(x + f(x))`.
    Post,
}

impl NormOrder {
    /// What a sub-layer reads: `norm(x)`, written to `normed`, or `x` itself.
    pub fn enter<'x>(self, ctx: &Context<'_>, norm: &Norm, x: &'x [f32], normed: &'x mut [f32]) -> &'x [f32] {
        match self {
            Self::Pre => {
                let normed = &mut normed[..x.len()];
                norm.forward(ctx, x, normed);
                normed
            }
            Self::Post => x,
        }
    }

    /// What stands behind the residual sum: nothing, or `norm(x)` in place.
    pub fn leave(self, ctx: &Context<'_>, norm: &Norm, x: &mut [f32], scratch: &mut [f32]) {
        if self == Self::Post {
            norm.forward_in_place(ctx, x, scratch);
        }
    }
}
