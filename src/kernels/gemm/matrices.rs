//! The frame for registers that hold matrices: panels outside, up to 16 rows of activations inside.

#![allow(unsafe_code)]

use core::mem::MaybeUninit;
use core::ops::Range;

use super::frame::{Lines, Product, Sum, finish};
use crate::tensor::{ColumnsMut, PANEL_ROWS};

/// How many steps ahead of the weights in use the next are asked for, in each panel.
const AHEAD: usize = 2;
/// Steps along K whose operands the first rows of a block make for all: 32 KB where they are int8 made of int4.
const KEPT_STEPS: usize = 16;
/// Greatest [`MatrixTile::ROWS`].
const MAX_ROWS: usize = 16;

/// Matrix registers of an instruction set for one pair of element types: one of sums with each of several panels, one of
/// activations, and what else it needs. A step takes `DEPTH` elements along K.
///
/// # Safety
/// The functions are unsafe because they may only run on a CPU that has the implementor's instruction set, and all but the
/// first between [`begin`](Self::begin) and [`end`](Self::end).
pub(in crate::kernels) trait MatrixTile<const DEPTH: usize> {
    /// Element of the activations.
    type Input: Copy + Default;
    /// Element of the panels.
    type Weight: Copy + Default;
    /// A finished sum.
    type Sum: Sum;
    /// Weights of a panel for one step.
    type Operand;
    /// The most rows of activations.
    const ROWS: usize;
    /// As those of [`Tile`](super::Tile).
    const PANEL_WIDTH: usize;
    const OFFSET: i32;
    const IS_BUILT: bool;

    /// Makes registers for `rows` rows.
    unsafe fn begin(rows: usize);

    /// Gives them back.
    unsafe fn end();

    /// No sums yet with panel `panel` of a block.
    unsafe fn zero(panel: usize);

    /// Loads `DEPTH` activations of each row.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load_a(rows: *const Self::Input, stride: usize);

    /// What the registers can be multiplied by: `DEPTH` weights of each of the 8 rows of a panel.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn operand(weights: *const Self::Weight) -> Self::Operand;

    /// Adds the products of the loaded activations with an operand to the sums with panel `panel` of a block.
    ///
    /// # Safety
    /// The weights that the operand is of must be readable.
    unsafe fn multiply(panel: usize, operand: &Self::Operand);

    /// Asks for the weights of a step that are `ahead` bytes behind `weights`; they need not exist.
    fn prefetch(weights: *const Self::Weight, ahead: usize);

    /// Writes the sums of row i to `sums + i * stride`.
    ///
    /// # Safety
    /// They must be writable.
    unsafe fn store(panel: usize, sums: *mut [Self::Sum; PANEL_ROWS], stride: usize);
}

/// A product, in blocks of P panels. Rows are divided into tiles of equal height, so that one configuration serves all;
/// where they cannot be, the last begins with rows that the one before it has finished.
///
/// # Safety
/// The CPU must have the instruction set of `T`.
#[inline(always)]
pub(in crate::kernels) unsafe fn gemm_by_matrices<T: MatrixTile<D>, const D: usize, const P: usize>(
    product: &Product<'_, T::Input, T::Weight>,
    mut out: ColumnsMut<'_>,
) {
    assert!(T::IS_BUILT, "int4 products need the feature `int4`");
    let rows = out.rows();
    if rows == 0 {
        return;
    }
    let height = rows.div_ceil(rows.div_ceil(T::ROWS));
    // SAFETY: the caller's promise.
    unsafe {
        T::begin(height);
        let left = blocks::<T, D, P>(product, product.panels.clone(), height, &mut out);
        blocks::<T, D, 1>(product, left, height, &mut out);
        T::end();
    }
}

/// All rows of the first panels of a range, P at a time. Returns the panels that are left.
#[inline(always)]
unsafe fn blocks<T: MatrixTile<D>, const D: usize, const P: usize>(
    product: &Product<'_, T::Input, T::Weight>,
    mut panels: Range<usize>,
    height: usize,
    out: &mut ColumnsMut<'_>,
) -> Range<usize> {
    const { assert!(T::ROWS <= MAX_ROWS) };
    let (rows, depth, panel_len) = (out.rows(), product.depth, T::PANEL_WIDTH * product.depth);
    let whole = depth / D * D;
    let mut sums = Lines([[[T::Sum::default(); PANEL_ROWS]; P]; MAX_ROWS]);
    let mut operands = [const { [const { MaybeUninit::uninit() }; P] }; KEPT_STEPS + 1];
    while panels.len() >= P {
        let weights = &product.weights[panels.start * panel_len..][..P * panel_len];
        let mut done = 0;
        while done < rows {
            let first = done.min(rows - height);
            let inputs = &product.inputs[first * depth..][..height * depth];
            // SAFETY: all offsets are below `height * depth` and `P * PANEL_WIDTH * depth`, the lengths of the slices, and
            // those of the sums below `MAX_ROWS * P`. The instruction set is the caller's promise.
            unsafe {
                unroll!(p < P, {
                    T::zero(p);
                });
                for (step, k) in (0..whole).step_by(D).enumerate() {
                    T::load_a(inputs.as_ptr().add(k), depth);
                    let w = weights.as_ptr().add(k * T::PANEL_WIDTH);
                    // Behind the end of a panel comes the panel that is P further on: the others are in use.
                    let skipped = if k + AHEAD * D < depth { 0 } else { (P - 1) * panel_len };
                    let ahead = (AHEAD * D * T::PANEL_WIDTH + skipped) * size_of::<T::Weight>();
                    // Of all panels first: a register waits for what has just been written.
                    let operands = &mut operands[step.min(KEPT_STEPS)];
                    unroll!(p < P, {
                        T::prefetch(w.add(p * panel_len), ahead);
                        if done == 0 || step >= KEPT_STEPS {
                            operands[p].write(T::operand(w.add(p * panel_len)));
                        }
                    });
                    unroll!(p < P, {
                        T::multiply(p, operands[p].assume_init_ref());
                    });
                }
                if whole < depth {
                    rest::<T, D>(inputs, weights, depth, whole);
                }
                unroll!(p < P, {
                    T::store(p, sums.0.as_mut_ptr().cast::<[T::Sum; PANEL_ROWS]>().add(p), P);
                });
            }
            finish(product, T::OFFSET, (done, panels.start), &sums.0[done - first..height], out);
            done = first + height;
        }
        panels.start += P;
    }
    panels
}

/// What is behind the last whole step, filled up with zeros.
#[inline(always)]
unsafe fn rest<T: MatrixTile<D>, const D: usize>(
    inputs: &[T::Input],
    weights: &[T::Weight],
    depth: usize,
    whole: usize,
) {
    let mut a = [[T::Input::default(); D]; MAX_ROWS];
    for (to, from) in a.iter_mut().zip(inputs.chunks_exact(depth)) {
        to[..depth - whole].copy_from_slice(&from[whole..]);
    }
    // SAFETY: the copies have `DEPTH` elements along K. The instruction set is the caller's promise.
    unsafe {
        T::load_a(a.as_ptr().cast(), D);
        for (p, panel) in weights.chunks_exact(T::PANEL_WIDTH * depth).enumerate() {
            let mut w = [[T::Weight::default(); PANEL_ROWS]; D];
            let panel = &panel[T::PANEL_WIDTH * whole..];
            w.as_flattened_mut()[..panel.len()].copy_from_slice(panel);
            T::multiply(p, &T::operand(w.as_ptr().cast()));
        }
    }
}
