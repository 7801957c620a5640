//! Matrix products with panel weights: what they take, and the frame that all instruction sets share.

#[macro_use]
mod unroll;
mod frame;
mod int4;
#[cfg(target_arch = "x86_64")]
mod matrices;

use core::ops::Range;

use super::Activation;
use crate::tensor::K_GROUP;
pub(super) use frame::{Lanes, Product, Scales, Tile, gemm, scores};
pub(super) use int4::{Int4, Nibbles};
#[cfg(target_arch = "x86_64")]
pub(super) use {
    frame::{Lines, Operands, step_by_panels},
    matrices::{MatrixTile, gemm_by_matrices},
    unroll::unroll,
};

/// The inputs of a product: M rows of K.
#[derive(Clone, Copy, Debug)]
pub enum Activations<'a> {
    /// For `f32` and `f16` weights.
    F32 {
        /// [M, K].
        rows: &'a [f32],
    },
    /// For int8 and int4 weights: rows that [`Kernels::quantize`](super::Kernels::quantize) made.
    I8 {
        /// [M, K rounded up to 4], zero beyond K.
        values: &'a [i8],
        /// `[M]`.
        scales: &'a [f32],
    },
}

impl Activations<'_> {
    /// Those of `rows` alone, of `columns` columns each.
    ///
    /// # Panics
    /// If there are not as many rows.
    #[must_use]
    pub fn rows(self, rows: Range<usize>, columns: usize) -> Self {
        let places = |width: usize| rows.start * width..rows.end * width;
        match self {
            Self::F32 { rows } => Self::F32 { rows: &rows[places(columns)] },
            Self::I8 { values, scales } => {
                let values = &values[places(columns.next_multiple_of(K_GROUP))];
                Self::I8 { values, scales: &scales[rows] }
            }
        }
    }
}

/// What happens to a sum of products before it is stored, in this order: `v = sum + bias`, `v = activation(v)`, and
/// `v = out + v` if there is a residual.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// `[N]`, of the whole matrix even where only some of its panels are multiplied.
    pub bias: Option<&'a [f32]>,
    /// The non-linearity.
    pub activation: Activation,
    /// Whether the output is added to what the output buffer holds.
    pub residual: Residual,
}

impl Epilogue<'_> {
    /// Stores the plain sums.
    pub const NONE: Epilogue<'static> =
        Epilogue { bias: None, activation: Activation::Identity, residual: Residual::None };
}

/// What the output buffer of a product holds beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// Nothing of interest: it is overwritten.
    None,
    /// The residual stream, to which the product is added.
    Add,
}

/// Number of columns that `panels` cover in a matrix of `rows` outputs.
pub(super) fn columns_of(panels: &Range<usize>, rows: usize) -> usize {
    (panels.end * crate::tensor::PANEL_ROWS)
        .min(rows)
        .saturating_sub(panels.start * crate::tensor::PANEL_ROWS)
}
