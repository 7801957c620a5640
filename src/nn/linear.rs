//! Linear projections.

use alloc::vec::Vec;

use super::Context;
use crate::format::TensorRef;
use crate::kernels::{Activation, Activations, Epilogue, Residual};
use crate::tensor::{ColumnsMut, Dtype, K_GROUP, PANEL_ROWS};
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
        let activations = match weight.dtype() {
            Dtype::I8 => quantized.fill(ctx, x, weight.columns()),
            Dtype::F32 | Dtype::F16 => Activations::F32 { rows: x },
        };
        let bias = self.bias.as_ref().map(|bias| bias.rows(ctx.bytes));
        let epilogue = Epilogue { bias, activation, residual };

        let work = x.len() * weight.rows();
        let count = if work < PARALLEL_WORK { 1 } else { ctx.pool.threads().min(weight.panels()) };
        let mut parts = heapless::Vec::<_, MAX_THREADS>::new();
        let mut rest = ColumnsMut::new(out, weight.rows());
        let mut first = 0;
        for part in 1..=count {
            let end = weight.panels() * part / count;
            let columns = (end * PANEL_ROWS).min(weight.rows()) - first * PANEL_ROWS;
            let (mine, others) = rest.split_at(columns);
            rest = others;
            let pushed = parts.push((first..end, Some(mine)));
            debug_assert!(pushed.is_ok(), "a pool has at most MAX_THREADS threads");
            first = end;
        }
        ctx.pool.each(&mut parts, |(panels, columns)| {
            if let Some(columns) = columns.take() {
                ctx.kernels.gemm(activations, &weight, &epilogue, panels.clone(), columns);
            }
        });
    }
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
