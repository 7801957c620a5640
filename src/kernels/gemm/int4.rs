//! int4 by the int8 tile of an instruction set.
//!
//! A block's values become int8 in registers, in most instruction sets 16 times as large as they are, since that leaves
//! them in the upper half of a byte; their products are summed, divided by 16, multiplied by the step of the row, and
//! added. All of it is exact: the result is that of the int8 weights `value * step`.

#![allow(unsafe_code)]

use core::marker::PhantomData;

use super::frame::Tile;
use crate::tensor::{I4_COLUMNS, I4Block, PANEL_ROWS};

/// An int8 tile that can take its weights from blocks of int4.
///
/// # Safety
/// As [`Tile`].
pub(in crate::kernels) trait Nibbles: Tile<Input = i8, Weight = i8, Sum = i32> {
    /// The values of columns `k..k + DEPTH`, all times 16 or times 1; `k` is a multiple of `DEPTH`.
    unsafe fn unpack(block: &I4Block, k: usize) -> Self::W;

    /// `acc + sums * steps`, each row by its own step; `sums` are those of the products of a block with
    /// [`unpack`](Self::unpack)'s values, divided by 16 if these were times 16.
    unsafe fn add_steps(acc: Self::Acc, sums: Self::Acc, steps: &[u8; PANEL_ROWS]) -> Self::Acc;
}

/// int4 by int8, a block at a time.
pub(in crate::kernels) struct Int4<T>(PhantomData<T>);

impl<T: Nibbles> Tile for Int4<T> {
    type Input = [i8; I4_COLUMNS];
    type Weight = I4Block;
    type Sum = i32;
    const ROWS: usize = T::ROWS;
    const DEPTH: usize = 1;
    const OFFSET: i32 = T::OFFSET;
    /// Unpacking is what limits it, unless the weights come from memory.
    const STREAMED_BYTES: usize = 8 << 20;
    const ASKS_IN_STREAM: bool = T::ASKS_IN_STREAM;
    const PANEL_WIDTH: usize = 1;
    const IS_BUILT: bool = cfg!(feature = "int4");
    /// Where the activations are, and how far those of the second row are behind them.
    type A = (*const i8, usize);
    type W = *const I4Block;
    type Acc = T::Acc;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        // SAFETY: the caller's promise.
        unsafe { T::zero() }
    }

    #[inline(always)]
    unsafe fn load_a(row: *const Self::Input, stride: usize) -> Self::A {
        (row.cast(), stride * I4_COLUMNS)
    }

    #[inline(always)]
    unsafe fn load_w(block: *const I4Block) -> Self::W {
        block
    }

    #[inline(always)]
    unsafe fn multiply(acc: Self::Acc, (row, stride): Self::A, block: Self::W) -> Self::Acc {
        const { assert!(I4_COLUMNS.is_multiple_of(T::DEPTH) && I4_COLUMNS / T::DEPTH <= 8) };
        // SAFETY: `load_a` and `load_w` were allowed to read 32 activations of each row and a block, of which each
        // step takes `DEPTH` columns. The instruction set is the caller's promise.
        unsafe {
            let mut sums = T::zero();
            for step in 0..I4_COLUMNS / T::DEPTH {
                let k = step * T::DEPTH;
                sums = T::multiply(sums, T::load_a(row.add(k), stride), T::unpack(&*block, k));
            }
            T::add_steps(acc, sums, &(*block).steps)
        }
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, sums: *mut [i32; PANEL_ROWS], stride: usize) {
        // SAFETY: the caller's promise.
        unsafe { T::store(acc, sums, stride) };
    }

    #[inline(always)]
    fn prefetch(block: *const I4Block, ahead: usize) {
        const LINE: usize = 64;
        for line in (0..size_of::<I4Block>()).step_by(LINE) {
            T::prefetch(block.cast(), ahead + line);
        }
    }
}
