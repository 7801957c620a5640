//! The blocking frame: panels outside, rows inside, the tile innermost.
//!
//! ```text
//! for each block of P panels            weights: read from memory once, then held in the first-level cache
//!     for each block of R row operands
//!         for each step along K         the tile: R * P accumulators in registers
//!             multiply                  <- the only part that an instruction set supplies
//!         epilogue: scale, bias, activation, residual
//! ```
//!
//! The frame knows how many rows and panels a tile has and how many k it takes in a step, never which instructions do
//! it. Every output is summed by one accumulator: integers exactly, floats over k in ascending order with a separate
//! multiply and add; so a result depends neither on the tile nor on what else is in the batch.

#![allow(unsafe_code)]

use core::ops::Range;

use super::{Epilogue, Residual};
use crate::kernels::activation::activate;
use crate::tensor::{ColumnsMut, PANEL_ROWS};

/// The inner kernel of one instruction set for one pair of element types.
///
/// # Safety
/// The functions are unsafe because they may only run on a CPU that has the implementor's instruction set.
pub(in crate::kernels) trait Tile {
    /// Element of the activations.
    type Input: Copy + Default;
    /// Element of the panels.
    type Weight: Copy + Default;
    /// A finished sum.
    type Sum: Sum;
    /// Activation rows that one operand holds: 1 or 2.
    const ROWS: usize = 1;
    /// Elements along K that one step takes, at most [`MAX_DEPTH`].
    const DEPTH: usize;
    /// What the tile adds to every activation: the frame takes `OFFSET` times the weights' sum back off.
    const OFFSET: i32 = 0;
    /// `ROWS` rows by `DEPTH` activations in registers.
    type A: Copy;
    /// 8 rows by `DEPTH` weights of one panel in registers.
    type W: Copy;
    /// The sums of `ROWS` rows by 8 columns.
    type Acc: Copy;

    /// No sums yet.
    unsafe fn zero() -> Self::Acc;

    /// Loads `DEPTH` activations from `row`, and from `row + stride` if `ROWS` is 2.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load_a(row: *const Self::Input, stride: usize) -> Self::A;

    /// Loads `8 * DEPTH` weights of a panel.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load_w(panel: *const Self::Weight) -> Self::W;

    /// `acc + a * w`.
    unsafe fn multiply(acc: Self::Acc, a: Self::A, w: Self::W) -> Self::Acc;

    /// The finished sums, one array for each of the `ROWS` rows.
    unsafe fn sums(acc: Self::Acc) -> [[Self::Sum; PANEL_ROWS]; MAX_ROWS];

    /// Asks for the cache line of `panel`, which need not be a valid address.
    #[inline(always)]
    fn prefetch(_panel: *const Self::Weight) {}
}

/// Greatest [`Tile::ROWS`].
pub(in crate::kernels) const MAX_ROWS: usize = 2;
/// Greatest [`Tile::DEPTH`].
pub(in crate::kernels) const MAX_DEPTH: usize = 16;
/// Rows of the largest tile, all operands together.
const MAX_TILE_ROWS: usize = 8;
/// How far ahead of the weights in use the next are asked for.
const PREFETCH_BYTES: usize = 1024;

/// One call of a product: validated by [`Kernels::gemm`](crate::kernels::Kernels::gemm).
pub(in crate::kernels) struct Product<'a, I, W> {
    /// [M, depth].
    pub inputs: &'a [I],
    /// All panels of the matrix, `8 * depth` elements each.
    pub weights: &'a [W],
    /// Elements of an input row.
    pub depth: usize,
    /// Empty for float products.
    pub scales: Scales<'a>,
    pub epilogue: &'a Epilogue<'a>,
    pub panels: Range<usize>,
}

/// What turns int8 sums into numbers.
#[derive(Default)]
pub(in crate::kernels) struct Scales<'a> {
    /// [M].
    pub inputs: &'a [f32],
    /// [P * 8].
    pub weights: &'a [f32],
    /// [P * 8], the sums of the weights' rows.
    pub sums: &'a [i32],
}

/// A finished sum that becomes a number.
pub(in crate::kernels) trait Sum: Copy + Default {
    /// The 8 numbers of a row's `sums` with one panel. `offset` is what the tile added to the activations.
    fn scale(
        sums: &[Self; PANEL_ROWS],
        offset: i32,
        scales: &Scales<'_>,
        row: usize,
        panel: usize,
    ) -> [f32; PANEL_ROWS];
}

impl Sum for i32 {
    #[inline(always)]
    fn scale(
        sums: &[i32; PANEL_ROWS],
        offset: i32,
        scales: &Scales<'_>,
        row: usize,
        panel: usize,
    ) -> [f32; PANEL_ROWS] {
        let columns = panel * PANEL_ROWS..(panel + 1) * PANEL_ROWS;
        let (weights, weight_sums) = (&scales.weights[columns.clone()], &scales.sums[columns]);
        let input = scales.inputs[row];
        core::array::from_fn(|i| {
            let sum = sums[i].wrapping_sub(offset.wrapping_mul(weight_sums[i]));
            sum as f32 * (input * weights[i])
        })
    }
}

impl Sum for f32 {
    #[inline(always)]
    fn scale(sums: &[f32; PANEL_ROWS], _: i32, _: &Scales<'_>, _: usize, _: usize) -> [f32; PANEL_ROWS] {
        *sums
    }
}

/// A product, in tiles of R row operands by P panels, or of one row by V panels where there is only one.
///
/// # Safety
/// The CPU must have the instruction set of `T`.
#[inline(always)]
pub(in crate::kernels) unsafe fn gemm<T: Tile, const R: usize, const P: usize, const V: usize>(
    product: &Product<'_, T::Input, T::Weight>,
    mut out: ColumnsMut<'_>,
) {
    let mut panel = product.panels.start;
    let end = product.panels.end;
    // SAFETY: the caller's promise, for all three.
    unsafe {
        while out.rows() == 1 && end - panel >= V {
            panel_block::<T, 1, V>(product, panel, &mut out);
            panel += V;
        }
        while end - panel >= P {
            panel_block::<T, R, P>(product, panel, &mut out);
            panel += P;
        }
        while panel < end {
            panel_block::<T, R, 1>(product, panel, &mut out);
            panel += 1;
        }
    }
}

/// All rows of the P panels from `panel` on.
#[inline(always)]
unsafe fn panel_block<T: Tile, const R: usize, const P: usize>(
    product: &Product<'_, T::Input, T::Weight>,
    panel: usize,
    out: &mut ColumnsMut<'_>,
) {
    let depth = product.depth;
    let panel_len = PANEL_ROWS * depth;
    let weights = &product.weights[panel * panel_len..][..P * panel_len];
    let mut sums = [[[T::Sum::default(); PANEL_ROWS]; P]; MAX_TILE_ROWS];
    let (mut row, rows) = (0, out.rows());
    while row < rows {
        let (inputs, left) = (&product.inputs[row * depth..], rows - row);
        // SAFETY: the caller's promise.
        let done = unsafe {
            if left >= R * T::ROWS {
                tile::<T, R, P>(inputs, left, weights, depth, &mut sums)
            } else if left >= 2 * T::ROWS {
                tile::<T, 2, P>(inputs, left, weights, depth, &mut sums)
            } else {
                tile::<T, 1, P>(inputs, left, weights, depth, &mut sums)
            }
        };
        for (r, sums) in sums[..done].iter().enumerate() {
            let mut values = [[0.0; PANEL_ROWS]; P];
            for (p, (values, sums)) in values.iter_mut().zip(sums).enumerate() {
                *values = T::Sum::scale(sums, T::OFFSET, &product.scales, row + r, panel + p);
            }
            let first = (panel - product.panels.start) * PANEL_ROWS;
            store(
                values.as_flattened_mut(),
                product.epilogue,
                panel * PANEL_ROWS,
                &mut out.row_mut(row + r)[first..],
            );
        }
        row += done;
    }
}

/// One tile: `sums[row][panel]` of the first `R * T::ROWS` of the `left` rows of `inputs`; a lone last row makes an
/// operand of its own. Returns the number of rows.
#[inline(always)]
unsafe fn tile<T: Tile, const R: usize, const P: usize>(
    inputs: &[T::Input],
    left: usize,
    weights: &[T::Weight],
    depth: usize,
    sums: &mut [[[T::Sum; PANEL_ROWS]; P]; MAX_TILE_ROWS],
) -> usize {
    let rows = left.min(R * T::ROWS);
    assert!(
        rows > (R - 1) * T::ROWS && inputs.len() >= rows * depth && weights.len() == P * PANEL_ROWS * depth
    );
    // An operand of two rows that has only one left reads it twice.
    let stride = if rows == R * T::ROWS { depth } else { 0 };
    let whole = depth / T::DEPTH * T::DEPTH;
    // SAFETY: all offsets are below `rows * depth` and `P * 8 * depth`, the lengths asserted above; `rest` pads what
    // is left of K to a whole step. The instruction set is the caller's promise.
    unsafe {
        let mut acc = [[T::zero(); P]; R];
        let mut k = 0;
        while k < whole {
            for p in 0..P {
                let panel = weights.as_ptr().add((p * depth + k) * PANEL_ROWS);
                T::prefetch(panel.wrapping_byte_add(PREFETCH_BYTES));
                let w = T::load_w(panel);
                for (r, acc) in acc.iter_mut().enumerate() {
                    let a = T::load_a(inputs.as_ptr().add(r * T::ROWS * depth + k), stride);
                    acc[p] = T::multiply(acc[p], a, w);
                }
            }
            k += T::DEPTH;
        }
        if whole < depth {
            rest::<T, R, P>(inputs, weights, depth, stride, &mut acc);
        }
        for (r, acc) in acc.iter().enumerate() {
            for (p, acc) in acc.iter().enumerate() {
                for (row, row_sums) in T::sums(*acc)[..T::ROWS].iter().enumerate() {
                    sums[r * T::ROWS + row][p] = *row_sums;
                }
            }
        }
    }
    rows
}

/// The last step of a tile where K is not a multiple of the tile's depth, on copies filled up with zeros.
#[inline(always)]
unsafe fn rest<T: Tile, const R: usize, const P: usize>(
    inputs: &[T::Input],
    weights: &[T::Weight],
    depth: usize,
    stride: usize,
    acc: &mut [[T::Acc; P]; R],
) {
    let (whole, left) = (depth / T::DEPTH * T::DEPTH, depth % T::DEPTH);
    let mut a = [[T::Input::default(); MAX_DEPTH]; MAX_ROWS];
    let mut w = [T::Weight::default(); MAX_DEPTH * PANEL_ROWS];
    for p in 0..P {
        w[..left * PANEL_ROWS]
            .copy_from_slice(&weights[(p * depth + whole) * PANEL_ROWS..][..left * PANEL_ROWS]);
        for (r, acc) in acc.iter_mut().enumerate() {
            for (row, a) in a[..T::ROWS].iter_mut().enumerate() {
                let start = r * T::ROWS * depth + row * stride + whole;
                a[..left].copy_from_slice(&inputs[start..][..left]);
            }
            // SAFETY: both buffers hold `MAX_DEPTH >= T::DEPTH`; the instruction set is the caller's promise.
            acc[p] = unsafe {
                T::multiply(acc[p], T::load_a(a.as_ptr().cast(), MAX_DEPTH), T::load_w(w.as_ptr()))
            };
        }
    }
}

/// The epilogue of one row: `values` are columns of the matrix from `column` on, `out` the same of the output.
#[inline(always)]
fn store(values: &mut [f32], epilogue: &Epilogue<'_>, column: usize, out: &mut [f32]) {
    if let Some(bias) = epilogue.bias {
        for (value, bias) in values.iter_mut().zip(&bias[column..]) {
            *value += bias;
        }
    }
    activate(epilogue.activation, values);
    let pairs = out.iter_mut().zip(values);
    match epilogue.residual {
        Residual::None => pairs.for_each(|(out, value)| *out = *value),
        Residual::Add => pairs.for_each(|(out, value)| *out += *value),
    }
}
