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
use crate::kernels::activation::{Activation, activate};
use crate::kernels::lanes::LANES;
use crate::tensor::{ColumnsMut, K_GROUP, PANEL_ROWS};

/// The inner kernel of one instruction set for one pair of element types.
///
/// # Safety
/// The functions are unsafe because they may only run on a CPU that has the implementor's instruction set.
pub(in crate::kernels) trait Tile: Sized {
    /// Element of the activations.
    type Input: Copy + Default;
    /// Element of the panels.
    type Weight: Copy + Default;
    /// A finished sum.
    type Sum: Sum;
    /// Activation rows that one operand holds: 1 or 2.
    const ROWS: usize = 1;
    /// Panels that one operand holds: 1 or 2.
    const PANELS: usize = 1;
    /// Elements along K that one step takes, at most [`MAX_DEPTH`].
    const DEPTH: usize;
    /// What is added to every activation when it is stored, 0 or 128: the frame takes `OFFSET` times the weights' sum back
    /// off.
    const OFFSET: i32 = 0;
    /// Bytes of a matrix from which on a single row meets one panel at a time, whose parts it is multiplied by side by
    /// side: the weights are then read in the order of memory. Below, and where an operand holds two panels, it meets several,
    /// which share the loading of activations.
    const STREAMED_BYTES: usize = 0;
    /// Whether such a row asks for the weights ahead of it, or leaves that to the hardware, which sees one stream.
    const ASKS_IN_STREAM: bool = true;
    /// Elements of a panel for one of a row.
    const PANEL_WIDTH: usize = PANEL_ROWS;
    /// Whether this library was built with such products.
    const IS_BUILT: bool = true;
    /// `ROWS` rows by `DEPTH` activations in registers.
    type A: Copy;
    /// 8 rows by `DEPTH` weights of `PANELS` panels in registers.
    type W: Copy;
    /// The sums of `ROWS` rows by 8 columns of `PANELS` panels.
    type Acc: Copy;

    /// No sums yet.
    unsafe fn zero() -> Self::Acc;

    /// Loads `DEPTH` activations from `row`, and from `row + stride` if `ROWS` is 2.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load_a(row: *const Self::Input, stride: usize) -> Self::A;

    /// Loads `PANEL_WIDTH * DEPTH` elements of a panel.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load_w(panel: *const Self::Weight) -> Self::W;

    /// The same of each of `PANELS` panels that are `stride` elements apart.
    ///
    /// # Safety
    /// They must be readable.
    #[inline(always)]
    unsafe fn load_panels(panel: *const Self::Weight, _stride: usize) -> Self::W {
        const { assert!(Self::PANELS == 1) };
        // SAFETY: the caller's promise.
        unsafe { Self::load_w(panel) }
    }

    /// `acc + a * w`.
    unsafe fn multiply(acc: Self::Acc, a: Self::A, w: Self::W) -> Self::Acc;

    /// Adds the products of step `i`, from element `k` on, to the sums of R row operands by P panels: here by one
    /// [`multiply`](Self::multiply) after the other.
    ///
    /// # Safety
    /// `DEPTH` elements of each must be readable from there on.
    #[inline(always)]
    unsafe fn step<const R: usize, const P: usize>(
        acc: &mut [[Self::Acc; P]; R],
        operands: &Operands<Self::Input, Self::Weight>,
        (i, k): (usize, usize),
    ) {
        // SAFETY: the caller's promise.
        unsafe { step_by_panels::<Self, R, P>(acc, operands, (i, k)) };
    }

    /// Writes the sums of the first row to `sums`, and of the second to `sums + stride` if `ROWS` is 2; behind them those
    /// with the second panel if `PANELS` is 2.
    ///
    /// # Safety
    /// They must be writable.
    unsafe fn store(acc: Self::Acc, sums: *mut [Self::Sum; PANEL_ROWS], stride: usize);

    /// Asks for the weights of a step that are `ahead` bytes behind `weights`; they need not exist.
    #[inline(always)]
    fn prefetch(_weights: *const Self::Weight, _ahead: usize) {}
}

/// A tile of floats that can also take the sums of [`dot`](crate::kernels::lanes::dot). There `A` is four elements of a
/// row, `W` four of each of two rows, and `Acc` four lanes of each of two sums.
///
/// # Safety
/// As [`Tile`].
pub(in crate::kernels) trait Lanes: Tile<Input = f32, Weight = f32, Sum = f32> {
    /// Loads four elements.
    ///
    /// # Safety
    /// They must be readable.
    unsafe fn load_four(row: *const f32) -> Self::A;

    /// `a * w`.
    unsafe fn product(a: Self::A, w: Self::W) -> Self::Acc;

    /// `a + b`.
    unsafe fn add(a: Self::Acc, b: Self::Acc) -> Self::Acc;

    /// Eight sums `(0 + 2) + (1 + 3)` of four lanes.
    unsafe fn combine(sums: [Self::Acc; 4]) -> Self::Acc;
}

/// Greatest [`Tile::ROWS`].
const MAX_ROWS: usize = 2;
/// Greatest [`Tile::DEPTH`].
pub(in crate::kernels) const MAX_DEPTH: usize = 16;
/// Rows of the largest tile, all operands together.
const MAX_TILE_ROWS: usize = 8;
/// How far ahead of the weights in use the next are asked for: in each of several panels, and in a single one. While rows
/// meet a block of panels that is not larger than `HELD_BYTES`, they ask for the block behind it: the first `SHARES` tiles
/// of rows, or as many as there are, for a share each in the order of memory, so that memory is always at work.
const PREFETCH_BYTES: usize = 1024;
const PREFETCH_BYTES_OF_ONE: usize = 4096;
const HELD_BYTES: usize = 64 << 10;
const SHARES: usize = 8;

/// One call of a product: validated by [`Kernels::gemm`](crate::kernels::Kernels::gemm).
pub(in crate::kernels) struct Product<'a, I, W> {
    /// [M, depth].
    pub inputs: &'a [I],
    /// All panels of the matrix, `PANEL_WIDTH * depth` elements each.
    pub weights: &'a [W],
    /// Elements of an input row.
    pub depth: usize,
    /// Empty for float products.
    pub scales: Scales<'a>,
    pub epilogue: &'a Epilogue<'a>,
    /// [`Kernels::activate`](crate::kernels::Kernels::activate).
    pub activate: fn(Activation, &mut [f32]),
    pub panels: Range<usize>,
}

/// What turns int8 sums into numbers.
#[derive(Default)]
pub(in crate::kernels) struct Scales<'a> {
    /// `[M]`.
    pub inputs: &'a [f32],
    /// [P * 8].
    pub weights: &'a [f32],
    /// [P * 8], the sums of the weights' rows.
    pub sums: &'a [i32],
}

/// A finished sum that becomes a number.
pub(in crate::kernels) trait Sum: Copy + Default {
    /// What K is padded to a multiple of.
    const K_PADDING: usize;

    /// Whether a sum may be taken in parts: a float's order is fixed.
    const IS_EXACT: bool;

    /// The sum of two sums.
    fn add(self, other: Self) -> Self;

    /// What turns sums with one panel into numbers.
    type Panel: Copy;

    /// That of panel `panel`. `offset` is what was added to the activations.
    fn panel(scales: &Scales<'_>, offset: i32, panel: usize) -> Self::Panel;

    /// The 8 numbers of a row's `sums` with the panel.
    fn scale(
        sums: &[Self; PANEL_ROWS],
        panel: &Self::Panel,
        scales: &Scales<'_>,
        row: usize,
    ) -> [f32; PANEL_ROWS];
}

impl Sum for i32 {
    const K_PADDING: usize = K_GROUP;
    const IS_EXACT: bool = true;
    /// Scales of the weights, and what is to be taken off the sums.
    type Panel = ([f32; PANEL_ROWS], [i32; PANEL_ROWS]);

    #[inline(always)]
    fn add(self, other: i32) -> i32 {
        self.wrapping_add(other)
    }

    #[inline(always)]
    fn panel(scales: &Scales<'_>, offset: i32, panel: usize) -> Self::Panel {
        let (weights, sums) = (scales.weights.as_chunks().0[panel], scales.sums.as_chunks().0[panel]);
        (weights, sums.map(|sum: i32| offset.wrapping_mul(sum)))
    }

    #[inline(always)]
    fn scale(
        sums: &[i32; PANEL_ROWS],
        (weights, excess): &Self::Panel,
        scales: &Scales<'_>,
        row: usize,
    ) -> [f32; PANEL_ROWS] {
        let input = scales.inputs[row];
        let mut values = [0.0; PANEL_ROWS];
        for i in 0..PANEL_ROWS {
            values[i] = sums[i].wrapping_sub(excess[i]) as f32 * (input * weights[i]);
        }
        values
    }
}

impl Sum for f32 {
    const K_PADDING: usize = 1;
    const IS_EXACT: bool = false;
    type Panel = ();

    #[inline(always)]
    fn add(self, other: f32) -> f32 {
        self + other
    }

    #[inline(always)]
    fn panel(_: &Scales<'_>, _: i32, _: usize) {}

    #[inline(always)]
    fn scale(sums: &[f32; PANEL_ROWS], (): &(), _: &Scales<'_>, _: usize) -> [f32; PANEL_ROWS] {
        *sums
    }
}

/// A product, in tiles of R row operands by P panels. A single row is multiplied by V accumulators: V parts of one
/// panel where sums may be taken in parts, which reads the weights in the order of memory, else V panels.
///
/// # Safety
/// The CPU must have the instruction set of `T`.
#[inline(always)]
pub(in crate::kernels) unsafe fn gemm<T: Tile, const R: usize, const P: usize, const V: usize>(
    product: &Product<'_, T::Input, T::Weight>,
    mut out: ColumnsMut<'_>,
) {
    assert!(T::IS_BUILT, "int4 products need the feature `int4`");
    let mut panels = product.panels.clone();
    // SAFETY: the caller's promise, for all four.
    unsafe {
        let is_streamed = size_of_val(product.weights) >= T::STREAMED_BYTES;
        if (out.rows(), T::ROWS, T::PANELS, T::Sum::IS_EXACT, is_streamed) == (1, 1, 1, true, true) {
            let panel_len = T::PANEL_WIDTH * product.depth;
            for panel in panels {
                let weights = &product.weights[panel * panel_len..][..panel_len];
                let sums = row_by_panel::<T, V>(product.inputs, weights, product.depth);
                finish(product, T::OFFSET, (0, panel), &[[sums]], &mut out);
            }
            return;
        }
        if V > 1 && out.rows() == 1 {
            panels = blocks::<T, 1, V>(product, panels, &mut out);
        }
        if P > 1 {
            panels = blocks::<T, R, P>(product, panels, &mut out);
        }
        blocks::<T, R, 1>(product, panels, &mut out);
    }
}

/// At the beginning of a cache line.
#[repr(align(64))]
pub(in crate::kernels) struct Lines<T>(pub T);

/// All rows of the first panels of a range, P at a time. Returns the panels that are left.
#[inline(always)]
unsafe fn blocks<T: Tile, const R: usize, const P: usize>(
    product: &Product<'_, T::Input, T::Weight>,
    mut panels: Range<usize>,
    out: &mut ColumnsMut<'_>,
) -> Range<usize> {
    let mut sums = Lines([[[[T::Sum::default(); PANEL_ROWS]; P]; MAX_ROWS]; R]);
    while panels.len() >= P {
        // SAFETY: the caller's promise.
        unsafe { block::<T, R, P>(product, panels.start, sums.0.as_flattened_mut(), out) };
        panels.start += P;
    }
    panels
}

/// All rows of the P panels from `panel` on. `sums` are for a tile's.
#[inline(always)]
unsafe fn block<T: Tile, const R: usize, const P: usize>(
    product: &Product<'_, T::Input, T::Weight>,
    panel: usize,
    sums: &mut [[[T::Sum; PANEL_ROWS]; P]],
    out: &mut ColumnsMut<'_>,
) {
    let (depth, panel_len) = (product.depth, T::PANEL_WIDTH * product.depth);
    let weights = &product.weights[panel * panel_len..][..P * panel_len];
    let (mut row, rows) = (0, out.rows());
    let (bytes, step) = (size_of_val(weights), T::DEPTH * T::PANEL_WIDTH * size_of::<T::Weight>());
    let shares = rows.div_ceil(R * T::ROWS).clamp(1, SHARES);
    let is_shared = shares > 1 && bytes <= HELD_BYTES;
    let (share, mut asked) = (bytes / shares, 0);
    let mut ahead = if is_shared {
        Ahead { first: bytes, lane: step, step: P * step / shares }
    } else {
        let first = if bytes > HELD_BYTES { PREFETCH_BYTES } else { bytes };
        Ahead { first, lane: bytes / P, step }
    };
    while row < rows {
        let (inputs, left) = (&product.inputs[row * depth..], rows - row);
        // SAFETY: the caller's promise.
        let done = unsafe {
            if left >= R * T::ROWS {
                tile::<T, R, P>(inputs, left, weights, depth, ahead, sums)
            } else if R > 4 && left >= 4 * T::ROWS {
                tile::<T, 4, P>(inputs, left, weights, depth, ahead, sums)
            } else if left >= 2 * T::ROWS {
                tile::<T, 2, P>(inputs, left, weights, depth, ahead, sums)
            } else {
                tile::<T, 1, P>(inputs, left, weights, depth, ahead, sums)
            }
        };
        finish(product, T::OFFSET, (row, panel), &sums[..done], out);
        row += done;
        if is_shared {
            // Once all is asked for, the weights in use are asked for again, which costs nothing.
            asked += share;
            ahead.first = if asked + share <= bytes { bytes + asked } else { 0 };
        }
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
    ahead: Ahead,
    sums: &mut [[[T::Sum; PANEL_ROWS]; P]],
) -> usize {
    const { assert!(R * T::ROWS <= MAX_TILE_ROWS && T::DEPTH <= MAX_DEPTH) };
    const { assert!(T::ROWS * T::PANELS <= 2 && (P == 1 || P.is_multiple_of(T::PANELS))) };
    let rows = left.min(R * T::ROWS);
    assert!(rows > (R - 1) * T::ROWS && sums.len() * P >= R * T::ROWS * P + T::PANELS - 1);
    assert!(inputs.len() >= rows * depth && weights.len() == P * T::PANEL_WIDTH * depth);
    let whole = depth / T::DEPTH * T::DEPTH;
    // An operand of two rows that has only one left reads it twice.
    let second = if rows == R * T::ROWS { depth } else { 0 };
    // SAFETY: all offsets are below `rows * depth` and `P * PANEL_WIDTH * depth`, and those of the sums below
    // `R * T::ROWS * P`: the lengths asserted above. The instruction set is the caller's promise.
    unsafe {
        let (a, w) = (inputs.as_ptr(), weights.as_ptr());
        let operands = Operands {
            a,
            stride: depth,
            second,
            w,
            lane_a: 0,
            lane_w: depth,
            step: T::DEPTH,
            ahead: Some(ahead),
        };
        let mut acc = [[T::zero(); P]; R];
        steps::<T, R, P>(&mut acc, &operands, whole);
        if T::DEPTH > T::Sum::K_PADDING && whole < depth {
            let left = depth - whole;
            let mut a = [T::Input::default(); MAX_TILE_ROWS * MAX_DEPTH];
            let mut w = [[T::Weight::default(); MAX_DEPTH * PANEL_ROWS]; P];
            for (row, a) in a.chunks_exact_mut(MAX_DEPTH).take(rows).enumerate() {
                a[..left].copy_from_slice(&inputs[row * depth + whole..][..left]);
            }
            for (p, w) in w.iter_mut().enumerate() {
                let rest = &weights[(p * depth + whole) * PANEL_ROWS..][..left * PANEL_ROWS];
                w[..rest.len()].copy_from_slice(rest);
            }
            let (a, stride, w, lane_w) = (a.as_ptr(), MAX_DEPTH, w.as_ptr().cast(), MAX_DEPTH);
            let operands = Operands { a, stride, second: stride, w, lane_w, ..operands };
            steps::<T, R, P>(&mut acc, &operands, T::DEPTH);
        }
        // Where two panels are one operand, a lone one's is followed by what the next row's sums take the place of.
        for (r, acc) in acc.iter().enumerate() {
            for (p, acc) in acc.iter().enumerate().step_by(T::PANELS) {
                T::store(*acc, sums.as_mut_ptr().cast::<[T::Sum; PANEL_ROWS]>().add(r * T::ROWS * P + p), P);
            }
        }
    }
    rows
}

/// Where the operands of a tile are: P lanes of weights, each with the rows of activations that it is multiplied by.
pub(in crate::kernels) struct Operands<I, W> {
    /// The first activation of the first row, and the distances from one row to the next and between both rows of one
    /// operand.
    a: *const I,
    stride: usize,
    second: usize,
    /// The first weight.
    w: *const W,
    /// Distances from one lane to the next, in elements along K of either side: panels are multiplied by the same
    /// activations, parts of a panel by their own.
    lane_a: usize,
    lane_w: usize,
    /// Elements along K from one step to the next.
    step: usize,
    /// What is asked for.
    ahead: Option<Ahead>,
}

impl<I, W> Operands<I, W> {
    /// The activations of `row` that lane `lane` is multiplied by, from element `k` on.
    ///
    /// # Safety
    /// There must be such.
    #[inline(always)]
    pub unsafe fn row(&self, row: usize, lane: usize, k: usize) -> *const I {
        // SAFETY: the caller's promise.
        unsafe { self.a.add(row * self.stride + lane * self.lane_a + k) }
    }

    /// The weights of lane `lane` from element `k` on.
    ///
    /// # Safety
    /// There must be such.
    #[inline(always)]
    pub unsafe fn lane<T: Tile<Input = I, Weight = W>>(&self, lane: usize, k: usize) -> *const W {
        // SAFETY: the caller's promise.
        unsafe { self.w.add((lane * self.lane_w + k) * T::PANEL_WIDTH) }
    }

    /// Asks for what lane `lane` needs some time after step `i`.
    #[inline(always)]
    pub fn ask<T: Tile<Input = I, Weight = W>>(&self, lane: usize, i: usize) {
        if let Some(ahead) = self.ahead {
            T::prefetch(self.w, ahead.first + lane * ahead.lane + i * ahead.step);
        }
    }
}

/// Where the weights are that are asked for while others are multiplied, in bytes.
#[derive(Clone, Copy)]
struct Ahead {
    /// From the weights in use to the first of them.
    first: usize,
    /// From those of one lane to the next, and of one step.
    lane: usize,
    step: usize,
}

/// Adds products to every sum of a tile, for each k below `end` that is a multiple of the step.
///
/// # Safety
/// `DEPTH` elements must be readable from every such k in every row and lane, and `PANEL_WIDTH * DEPTH` elements of every lane's weights;
/// the CPU must have the instruction set of `T`.
#[inline(always)]
unsafe fn steps<T: Tile, const R: usize, const P: usize>(
    acc: &mut [[T::Acc; P]; R],
    operands: &Operands<T::Input, T::Weight>,
    end: usize,
) {
    for (i, k) in (0..end).step_by(operands.step).enumerate() {
        // SAFETY: the caller's promises.
        unsafe { T::step::<R, P>(acc, operands, (i, k)) };
    }
}

/// [`Tile::step`] as it is for most.
///
/// # Safety
/// As there.
#[inline(always)]
pub(in crate::kernels) unsafe fn step_by_panels<T: Tile, const R: usize, const P: usize>(
    acc: &mut [[T::Acc; P]; R],
    operands: &Operands<T::Input, T::Weight>,
    (i, k): (usize, usize),
) {
    // SAFETY: the caller's promises.
    unsafe {
        unroll!(p < P, {
            operands.ask::<T>(p, i);
            if p % T::PANELS == 0 {
                // A lone panel of an operand of two is read twice.
                let next = if P < T::PANELS { 0 } else { operands.lane_w * T::PANEL_WIDTH };
                let w = T::load_panels(operands.lane::<T>(p, k), next);
                unroll!(r < R, {
                    let a = T::load_a(operands.row(r * T::ROWS, p, k), operands.second);
                    acc[r][p] = T::multiply(acc[r][p], a, w);
                });
            }
        });
    }
}

/// The sums of one row and one panel, taken in C parts.
#[inline(always)]
unsafe fn row_by_panel<T: Tile, const C: usize>(
    input: &[T::Input],
    weights: &[T::Weight],
    depth: usize,
) -> [T::Sum; PANEL_ROWS] {
    assert!(input.len() == depth && weights.len() == T::PANEL_WIDTH * depth);
    let step = C * T::DEPTH;
    let bytes = T::DEPTH * T::PANEL_WIDTH * size_of::<T::Weight>();
    let whole = depth / step * step;
    let mut parts = [[T::Sum::default(); PANEL_ROWS]; C];
    // SAFETY: all offsets are below `depth` and `PANEL_WIDTH * depth`, and `store` writes one row. The instruction set is the
    // caller's promise.
    unsafe {
        let mut acc = [[T::zero(); C]; 1];
        let (a, w) = (input.as_ptr(), weights.as_ptr());
        let operands = Operands {
            a,
            stride: 0,
            second: 0,
            w,
            lane_a: T::DEPTH,
            lane_w: T::DEPTH,
            step,
            ahead: T::ASKS_IN_STREAM.then_some(Ahead {
                first: PREFETCH_BYTES_OF_ONE,
                lane: bytes,
                step: C * bytes,
            }),
        };
        steps::<T, 1, C>(&mut acc, &operands, whole);
        for (acc, part) in acc[0].iter().zip(&mut parts) {
            T::store(*acc, part, 1);
        }
    }
    let mut rest = [[[T::Sum::default(); PANEL_ROWS]; 1]; 1];
    if whole < depth {
        // SAFETY: the caller's promise.
        unsafe {
            tile::<T, 1, 1>(
                &input[whole..],
                1,
                &weights[T::PANEL_WIDTH * whole..],
                depth - whole,
                Ahead { first: PREFETCH_BYTES, lane: 0, step: bytes },
                &mut rest,
            )
        };
    }
    let [[mut sums]] = rest;
    for part in parts {
        for i in 0..PANEL_ROWS {
            sums[i] = sums[i].add(part[i]);
        }
    }
    sums
}

/// The epilogue of the rows from `row` on and the P panels from `panel` on, whose `sums` are [rows, P]. Of the last panel
/// the matrix, and `out`, may have fewer columns than 8.
///
/// Whole panels stay in registers from the sums to the store: what has fewer columns is moved by functions of its own.
#[inline(always)]
pub(super) fn finish<I, W, S: Sum, const P: usize>(
    product: &Product<'_, I, W>,
    offset: i32,
    (row, panel): (usize, usize),
    sums: &[[[S; PANEL_ROWS]; P]],
    out: &mut ColumnsMut<'_>,
) {
    let Product { epilogue, scales, panels, .. } = product;
    let mut constants = [S::panel(scales, offset, panel); P];
    // Adding -0 changes nothing, not even a zero's sign.
    let mut biases = [[-0.0; PANEL_ROWS]; P];
    unroll!(p < P, {
        constants[p] = S::panel(scales, offset, panel + p);
        if let Some(bias) = epilogue.bias {
            biases[p] = first_of(&bias[(panel + p) * PANEL_ROWS..]);
        }
    });
    let adds = epilogue.residual == Residual::Add;
    for (r, sums) in sums.iter().enumerate() {
        let mut values = [[0.0; PANEL_ROWS]; P];
        unroll!(p < P, {
            values[p] = S::scale(&sums[p], &constants[p], scales, row + r);
            add(&mut values[p], &biases[p]);
        });
        match epilogue.activation {
            Activation::Identity => {}
            Activation::Relu => {
                unroll!(p < P, {
                    activate(Activation::Relu, &mut values[p]);
                });
            }
            // Called, as each is more code than all else; with a copy, so that the values are never in memory
            // without it.
            activation => {
                let mut activated = values;
                (product.activate)(activation, activated.as_flattened_mut());
                values = activated;
            }
        }
        let out = &mut out.row_mut(row + r)[(panel - panels.start) * PANEL_ROWS..];
        store(values, adds, out);
    }
}

#[inline(always)]
fn add(values: &mut [f32; PANEL_ROWS], others: &[f32; PANEL_ROWS]) {
    for i in 0..PANEL_ROWS {
        values[i] += others[i];
    }
}

/// The first 8 numbers, or what there is of them, filled up with zeros.
#[inline(always)]
fn first_of(x: &[f32]) -> [f32; PANEL_ROWS] {
    match x.first_chunk() {
        Some(x) => *x,
        None => filled_up(x),
    }
}

#[cold]
#[inline(never)]
fn filled_up(x: &[f32]) -> [f32; PANEL_ROWS] {
    let mut filled = [0.0; PANEL_ROWS];
    filled[..x.len()].copy_from_slice(x);
    filled
}

/// Writes, or adds, the `values`, or as many as `out` has room for.
#[inline(always)]
fn store<const P: usize>(mut values: [[f32; PANEL_ROWS]; P], adds: bool, out: &mut [f32]) {
    match out.as_chunks_mut().0.get_mut(..P) {
        Some(out) => {
            unroll!(p < P, {
                if adds {
                    add(&mut values[p], &out[p]);
                }
                out[p] = values[p];
            });
        }
        None => {
            // A copy, so that the values of whole panels are never in memory.
            let copy = values;
            store_some(copy.as_flattened(), adds, out);
        }
    }
}

/// Writes, or adds, as many of the `values` as `out` has room for.
#[cold]
#[inline(never)]
fn store_some(values: &[f32], adds: bool, out: &mut [f32]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = if adds { value + *out } else { *value };
    }
}

/// The sums of [`Kernels::scores`](crate::kernels::Kernels::scores): 8 keys of a query at a time, first four lanes of
/// each and then the others: so many sums fit the registers of every instruction set.
///
/// # Safety
/// The CPU must have the instruction set of `T`.
#[inline(always)]
pub(in crate::kernels) unsafe fn scores<T: Lanes>(
    queries: &[f32],
    keys: &[f32],
    depth: usize,
    mut out: ColumnsMut<'_>,
) {
    const HALF: usize = LANES / 2;
    const { assert!(T::ROWS == 1 && T::DEPTH == 1 && HALF == 4) };
    assert!(depth > 0 && depth.is_multiple_of(LANES));
    for (panel, keys) in keys.chunks_exact(PANEL_ROWS * depth).enumerate() {
        for (row, query) in queries.chunks_exact(depth).enumerate() {
            let (query, keys) = (query.as_ptr(), keys.as_ptr());
            let mut sums = [0.0; PANEL_ROWS];
            // SAFETY: all offsets are below `depth` and `PANEL_ROWS * depth`, the lengths of the chunks, which are
            // whole lanes, and `store` writes one row. The instruction set is the caller's promise.
            unsafe {
                let mut halves = [[T::zero(); 4]; 2];
                for (sums, first) in halves.iter_mut().zip([0, HALF]) {
                    let four = T::load_four(query.add(first));
                    for (pair, sum) in sums.iter_mut().enumerate() {
                        *sum = T::product(four, T::load_w(keys.add(first * PANEL_ROWS + pair * LANES)));
                    }
                    for k in (LANES + first..depth).step_by(LANES) {
                        let four = T::load_four(query.add(k));
                        for (pair, sum) in sums.iter_mut().enumerate() {
                            let keys = T::load_w(keys.add(k * PANEL_ROWS + pair * LANES));
                            *sum = T::multiply(*sum, four, keys);
                        }
                    }
                }
                let [mut lanes, others] = halves;
                for (lanes, others) in lanes.iter_mut().zip(others) {
                    *lanes = T::add(*lanes, others);
                }
                // `dot` begins its lanes with 0. That shows where all products are -0, and nowhere else: so 0 is added
                // here, once.
                T::store(T::add(T::combine(lanes), T::zero()), &mut sums, 1);
            }
            store([sums], false, &mut out.row_mut(row)[panel * PANEL_ROWS..]);
        }
    }
}
