//! Linear projections.

use alloc::vec::Vec;
use core::ops::Range;

use super::{Context, Stored};
use crate::kernels::{Activation, Activations, Epilogue, Residual};
use crate::tensor::{Aligned, ColumnsMut, Dtype, K_GROUP, Matrix, PANEL_ROWS};
use crate::threads::MAX_THREADS;

/// Multiply-adds below which a product stays on one thread: handing out work costs some microseconds.
const PARALLEL_WORK: usize = 1 << 17;

/// `y = x W^T + b`, and where an adapter says so `+ x A^T B^T`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// W [N, K].
    pub weight: Stored,
    /// b \[N\].
    pub bias: Option<Stored>,
    /// What an adapter adds, each to rows of its own.
    pub low_rank: Vec<LowRank>,
}

/// A low-rank term `x A^T B^T` beside a product (Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models",
/// section 4.1), in f32 whatever the type of the weights.
#[derive(Clone, Debug)]
pub struct LowRank {
    /// A [rank, K].
    pub down: Stored,
    /// B [rows, rank], the scale of the paper multiplied in.
    pub up: Stored,
    /// The outputs that it is added to.
    pub rows: Range<usize>,
}

impl Linear {
    /// `out = activation(x W^T + b)`, or `out += x W^T + b` with [`Residual::Add`]. `x` [M, K], `out` [M, N].
    ///
    /// # Panics
    /// With debug assertions, if there is both an activation and a residual.
    pub fn forward(
        &self,
        ctx: &Context<'_>,
        x: &[f32],
        quantized: &mut Quantized,
        activation: Activation,
        residual: Residual,
        out: &mut [f32],
    ) {
        debug_assert!(activation == Activation::Identity || residual == Residual::None);
        let weight = self.weight.matrix(ctx);
        let activations = quantized.prepare(ctx, x, &weight);
        let bias = self.bias.as_ref().map(|bias| bias.rows(ctx));
        // Low-rank terms are added between the product and its activation.
        let fused = if self.low_rank.is_empty() { activation } else { Activation::Identity };
        let (epilogue, panels) = (Epilogue { bias, activation: fused, residual }, 0..weight.panels());
        project(ctx, activations, &weight, &epilogue, panels, out);
        for term in &self.low_rank {
            term.add(ctx, x, &mut quantized.narrowed, ColumnsMut::new(out, weight.rows()));
        }
        if fused != activation {
            ctx.kernels.activate(activation, out);
        }
    }
}

impl LowRank {
    /// Adds the term for the rows of `x` [M, K] to its columns of `out` [M, N]; `narrowed` has room for [M, rank].
    fn add(&self, ctx: &Context<'_>, x: &[f32], narrowed: &mut [f32], out: ColumnsMut<'_>) {
        let (down, up) = (self.down.matrix(ctx), self.up.matrix(ctx));
        let narrowed = &mut narrowed[..out.rows() * down.rows()];
        let (_, out) = out.split_at(self.rows.start);
        let (out, _) = out.split_at(self.rows.len());
        let columns = ColumnsMut::new(narrowed, down.rows());
        ctx.kernels.gemm(Activations::F32 { rows: x }, &down, &Epilogue::NONE, 0..down.panels(), columns);
        let epilogue = Epilogue { residual: Residual::Add, ..Epilogue::NONE };
        ctx.kernels.gemm(Activations::F32 { rows: narrowed }, &up, &epilogue, 0..up.panels(), out);
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

/// Room for rows on their way into a product: quantized to int8 with one scale a row, and narrowed to the rank of an
/// adapter.
pub struct Quantized {
    values: Aligned<i8>,
    scales: Vec<f32>,
    narrowed: Vec<f32>,
}

impl Quantized {
    /// Room for at most `scales.len()` rows with at most `values.len()` values together, each row rounded up to a
    /// multiple of 4, and for `narrowed.len()` values of low-rank terms.
    pub fn new(values: Aligned<i8>, scales: Vec<f32>, narrowed: Vec<f32>) -> Self {
        Self { values, scales, narrowed }
    }

    /// The rows of `x` [M, K] as a product with `weight` [N, K] takes them.
    pub fn prepare<'a>(
        &'a mut self,
        ctx: &Context<'_>,
        x: &'a [f32],
        weight: &Matrix<'_>,
    ) -> Activations<'a> {
        match weight.dtype() {
            Dtype::I8 | Dtype::I4 => self.fill(ctx, x, weight.columns()),
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
