//! Linear projections.

use alloc::vec::Vec;
use core::ops::Range;

use super::Context;
use crate::format::TensorRef;
use crate::kernels::{Activation, Activations, Epilogue, Residual};
use crate::tensor::{ColumnsMut, Dtype, K_GROUP, Matrix, PANEL_ROWS};
use crate::threads::MAX_THREADS;

/// Multiply-adds below which a product stays on one thread: handing out work costs some microseconds.
const PARALLEL_WORK: usize = 1 << 17;

/// `y = x W^T + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// W [N, K].
    pub weight: TensorRef,
    /// b \[N\].
    pub bias: Option<TensorRef>,
}

impl Linear {
    /// `out = activation(x W^T + b)`, or `out += ...` with [`Residual::Add`]. `x` [M, K], `out` [M, N].
    pub fn forward(
        &self,
        ctx: &Context<'_>,
        x: &[f32],
        quantized: &mut Quantized,
        activation: Activation,
        residual: Residual,
        out: &mut [f32],
    ) {
        let weight = self.weight.matrix(ctx.bytes);
        let activations = quantized.prepare(ctx, x, &weight);
        let bias = self.bias.as_ref().map(|bias| bias.rows(ctx.bytes));
        let (epilogue, panels) = (Epilogue { bias, activation, residual }, 0..weight.panels());
        project(ctx, activations, &weight, &epilogue, panels, out);
    }
}

/// `out = epilogue(activations * weight^T)` for the rows of `panels`, shared by the threads where that is worth it:
/// `out` [M, rows of `panels`].
pub fn project(
    ctx: &Context<'_>,
    activations: Activations<'_>,
    weight: &Matrix<'_>,
    epilogue: &Epilogue<'_>,
    panels: Range<usize>,
    out: &mut [f32],
) {
    let columns =
        |panels: &Range<usize>| (panels.end * PANEL_ROWS).min(weight.rows()) - panels.start * PANEL_ROWS;
    let work = out.len() * weight.columns();
    let count = if work < PARALLEL_WORK { 1 } else { ctx.pool.threads().min(panels.len()) };
    let mut parts = heapless::Vec::<_, MAX_THREADS>::new();
    let mut rest = ColumnsMut::new(out, columns(&panels));
    let mut first = panels.start;
    for part in 1..=count {
        let end = panels.start + panels.len() * part / count;
        let (mine, others) = rest.split_at(columns(&(first..end)));
        rest = others;
        let pushed = parts.push((first..end, Some(mine)));
        debug_assert!(pushed.is_ok(), "a pool has at most MAX_THREADS threads");
        first = end;
    }
    ctx.pool.each(&mut parts, |(panels, columns)| {
        if let Some(columns) = columns.take() {
            ctx.kernels.gemm(activations, weight, epilogue, panels.clone(), columns);
        }
    });
}

/// Room for rows quantized to int8, one scale a row.
pub struct Quantized {
    values: Vec<i8>,
    scales: Vec<f32>,
}

impl Quantized {
    /// Room for at most `scales.len()` rows with at most `values.len()` values together, each row rounded up to a
    /// multiple of 4.
    pub fn new(values: Vec<i8>, scales: Vec<f32>) -> Self {
        Self { values, scales }
    }

    /// The rows of `x` [M, K] as a product with `weight` [N, K] takes them.
    pub fn prepare<'a>(
        &'a mut self,
        ctx: &Context<'_>,
        x: &'a [f32],
        weight: &Matrix<'_>,
    ) -> Activations<'a> {
        match weight.dtype() {
            Dtype::I8 => self.fill(ctx, x, weight.columns()),
            Dtype::F32 | Dtype::F16 => Activations::F32 { rows: x },
        }
    }

    /// The rows of `x` [M, `columns`], quantized.
    fn fill(&mut self, ctx: &Context<'_>, x: &[f32], columns: usize) -> Activations<'_> {
        let rows = x.len() / columns;
        let stride = columns.next_multiple_of(K_GROUP);
        let values = &mut self.values[..rows * stride];
        let scales = &mut self.scales[..rows];
        for ((x, values), scale) in
            x.chunks_exact(columns).zip(values.chunks_exact_mut(stride)).zip(&mut *scales)
        {
            *scale = ctx.kernels.quantize(x, values);
        }
        Activations::I8 { values, scales }
    }
}
