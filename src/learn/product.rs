//! The matrix products of learning: forward, and the gradients of both factors.
//!
//! All three are the f32 product of the kernels, so that they are as fast and give the same bits on every instruction
//! set. Rows of a weight, whatever its type, are widened a block at a time into panels: the weight is never copied as a
//! whole. With y = x Wᵀ and the gradient g of y, the gradient of x is g W, and that of W is gᵀ x.

use crate::kernels::{Activations, Epilogue, Kernels, Residual};
use crate::tensor::{ColumnsMut, Matrix, PANEL_ROWS, Panels};
use core::ops::Range;

/// Rows of a weight that are widened at a time.
pub const BLOCK: usize = 32;

/// A weight [N, K].
#[derive(Clone, Copy)]
pub enum Weight<'a> {
    /// Frozen, in panels of any type.
    Panels(Matrix<'a>),
    /// Learned, row-major.
    Rows {
        /// [N, K].
        values: &'a [f32],
        /// K.
        columns: usize,
    },
}

impl Weight<'_> {
    /// N.
    pub fn rows(&self) -> usize {
        match self {
            Self::Panels(matrix) => matrix.rows(),
            Self::Rows { values, columns } => values.len() / columns,
        }
    }

    /// K.
    pub fn columns(&self) -> usize {
        match self {
            Self::Panels(matrix) => matrix.columns(),
            Self::Rows { columns, .. } => *columns,
        }
    }

    /// Row `row` times `factor`, to `out` \[K\].
    pub fn row(&self, row: usize, factor: f32, out: &mut [f32]) {
        match self {
            Self::Panels(matrix) => matrix.gather_row(row, factor, out),
            Self::Rows { values, columns } => {
                for (out, value) in out.iter_mut().zip(&values[row * columns..]) {
                    *out = value * factor;
                }
            }
        }
    }

    /// Panel `panel` of 8 rows in f32, to `out` [K][8]; what is beyond N stays.
    fn panel(&self, panel: usize, out: &mut [f32]) {
        match self {
            Self::Panels(matrix) => matrix.widen_panel(panel, out),
            Self::Rows { values, columns } => {
                let rows = values.chunks_exact(*columns).skip(panel * PANEL_ROWS).take(PANEL_ROWS);
                for (lane, row) in rows.enumerate() {
                    out[lane..].iter_mut().step_by(PANEL_ROWS).zip(row).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }

    /// Its rows in blocks.
    fn blocks(&self) -> impl Iterator<Item = Range<usize>> {
        let n = self.rows();
        (0..n).step_by(BLOCK).map(move |first| first..n.min(first + BLOCK))
    }
}

/// `out += x Wᵀ`: `x` [M, K], `out` [M, N].
pub fn add_product(kernels: &Kernels, x: &[f32], weight: &Weight<'_>, mut out: ColumnsMut<'_>) {
    let k = weight.columns();
    let mut panels = vec![0.0; BLOCK.min(weight.rows().next_multiple_of(PANEL_ROWS)) * k];
    for rows in weight.blocks() {
        let panels = &mut panels[..rows.len().next_multiple_of(PANEL_ROWS) * k]; // [P][K][8]
        for (panel, out) in (rows.start / PANEL_ROWS..).zip(panels.chunks_exact_mut(PANEL_ROWS * k)) {
            weight.panel(panel, out);
        }
        let (columns, others) = out.split_at(rows.len());
        out = others;
        multiply(kernels, x, panels, (rows.len(), k), columns);
    }
}

/// `dx += g W`: `g` [M, N], `dx` [M, K].
pub fn add_input_gradient(kernels: &Kernels, g: &[f32], weight: &Weight<'_>, dx: &mut [f32]) {
    let (n, k) = (weight.rows(), weight.columns());
    let (mut block, mut panels) = (vec![0.0; BLOCK.min(n) * k], Vec::new());
    for rows in weight.blocks() {
        let block = &mut block[..rows.len() * k];
        for (row, out) in rows.clone().zip(block.chunks_exact_mut(k)) {
            weight.row(row, 1.0, out);
        }
        row_panels(block, k, &mut panels);
        let part = columns(g, n, &rows);
        multiply(kernels, &part, &panels, (k, rows.len()), ColumnsMut::new(dx, k));
    }
}

/// `dw += gᵀ x`: `g` [M, N], `x` [M, K], `dw` [N, K].
pub fn add_weight_gradient(kernels: &Kernels, g: &[f32], x: &[f32], dw: &mut [f32], n: usize) {
    let (m, k) = (g.len() / n, dw.len() / n);
    let mut transposed = vec![0.0; g.len()]; // [N, M]
    for (row, g) in g.chunks_exact(n).enumerate() {
        transposed[row..].iter_mut().step_by(m).zip(g).for_each(|(to, from)| *to = *from);
    }
    let mut panels = Vec::new();
    row_panels(x, k, &mut panels);
    multiply(kernels, &transposed, &panels, (k, m), ColumnsMut::new(dw, k));
}

/// Columns `range` of `rows` [M, width].
pub fn columns(rows: &[f32], width: usize, range: &Range<usize>) -> Vec<f32> {
    let mut part = Vec::with_capacity(rows.len() / width * range.len());
    rows.chunks_exact(width).for_each(|row| part.extend_from_slice(&row[range.clone()]));
    part
}

/// `rows` [J, K] as the panels [K / 8][J][8] of their transpose.
fn row_panels(rows: &[f32], k: usize, panels: &mut Vec<f32>) {
    let count = rows.len() / k;
    panels.clear();
    panels.resize(k.next_multiple_of(PANEL_ROWS) * count, 0.0);
    let (panels, _) = panels.as_chunks_mut::<PANEL_ROWS>();
    for (i, row) in rows.chunks_exact(k).enumerate() {
        let (whole, rest) = row.as_chunks::<PANEL_ROWS>();
        for (part, panel) in whole.iter().zip(panels.iter_mut().skip(i).step_by(count)) {
            *panel = *part;
        }
        if !rest.is_empty() {
            panels[whole.len() * count + i][..rest.len()].copy_from_slice(rest);
        }
    }
}

/// `out += rows * matrixᵀ`, the matrix given as f32 panels and (N, K).
fn multiply(kernels: &Kernels, rows: &[f32], panels: &[f32], (n, k): (usize, usize), out: ColumnsMut<'_>) {
    let matrix = Matrix::new(n, k, Panels::F32(panels)).expect("panels of this size");
    let epilogue = Epilogue { residual: Residual::Add, ..Epilogue::NONE };
    kernels.gemm(Activations::F32 { rows }, &matrix, &epilogue, 0..matrix.panels(), out);
}
