//! The int8 tile for `smmla`: two activation rows by two weight rows by eight k in one instruction.

#![allow(unsafe_code)]

use core::arch::aarch64::*;
use core::arch::asm;

use super::dotprod;
use super::neon::{prefetch, store};
use crate::kernels::Isa;
use crate::kernels::gemm::{Product, Tile, gemm};
use crate::kernels::table::{Gemm, GemmKernels, Kernels, with_features};
use crate::tensor::{ColumnsMut, K_GROUP, PANEL_ROWS};

pub(in crate::kernels) static NEON_I8MM: Kernels =
    Kernels { isa: Isa::NeonI8mm, rows: &crate::kernels::arch::portable::ROWS, gemm: GEMM };

pub(super) const GEMM: GemmKernels =
    GemmKernels { i8: Gemm { run: gemm_i8, isa: Isa::NeonI8mm, tile: (8, 8), offset: 0 }, ..dotprod::GEMM };

with_features! { target_feature(enable = "neon,dotprod,i8mm");
    fn gemm_i8(product: &Product<'_, i8, i8>, out: ColumnsMut<'_>) = gemm_by_rows;
}

/// A single row would waste half of every `smmla`: `sdot` multiplies it.
///
/// # Safety
/// The CPU must have dotprod and i8mm.
#[inline(always)]
unsafe fn gemm_by_rows(product: &Product<'_, i8, i8>, out: ColumnsMut<'_>) {
    // SAFETY: the caller's promise.
    unsafe {
        match out.rows() {
            1 => gemm::<dotprod::Int8, 1, 1, 2>(product, out),
            _ => gemm::<Int8, 4, 1, 1>(product, out),
        }
    }
}

/// `acc + a wᵀ`, a and w being 2 x 8: the stable library has no intrinsic for it.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn smmla(mut acc: int32x4_t, a: int8x16_t, w: int8x16_t) -> int32x4_t {
    // SAFETY: works on registers only, and this function has the feature.
    unsafe {
        asm!(
            "smmla {acc:v}.4s, {a:v}.16b, {w:v}.16b",
            acc = inout(vreg) acc, a = in(vreg) a, w = in(vreg) w,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// int8 by int8, two rows and two groups at a time.
struct Int8;

impl Tile for Int8 {
    type Input = i8;
    type Weight = i8;
    type Sum = i32;
    const ROWS: usize = 2;
    const DEPTH: usize = 2 * K_GROUP;
    /// Eight k of the first row, then of the second.
    type A = int8x16_t;
    /// Eight k of weight rows 0 and 1, 2 and 3, 4 and 5, 6 and 7.
    type W = [int8x16_t; 4];
    /// For each pair of weight rows: both sums of the first activation row, then of the second.
    type Acc = [int32x4_t; 4];

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        // SAFETY: NEON is the caller's promise.
        unsafe { [vdupq_n_s32(0); 4] }
    }

    #[inline(always)]
    unsafe fn load_a(row: *const i8, stride: usize) -> Self::A {
        // SAFETY: the caller lets us read 8 elements of both rows; NEON is its promise.
        unsafe {
            let (first, second) = (row.cast::<i64>(), row.add(stride).cast::<i64>());
            let both = vsetq_lane_s64::<1>(second.read_unaligned(), vdupq_n_s64(first.read_unaligned()));
            vreinterpretq_s8_s64(both)
        }
    }

    #[inline(always)]
    unsafe fn load_w(panel: *const i8) -> Self::W {
        // SAFETY: the caller lets us read 64 elements; NEON is its promise.
        unsafe {
            // The four rows of a half panel in the first and the second group: zipping them by group joins each row.
            let group = |offset: usize| vreinterpretq_s32_s8(vld1q_s8(panel.add(offset)));
            let (low, next_low, high, next_high) = (group(0), group(32), group(16), group(48));
            [
                vreinterpretq_s8_s32(vzip1q_s32(low, next_low)),
                vreinterpretq_s8_s32(vzip2q_s32(low, next_low)),
                vreinterpretq_s8_s32(vzip1q_s32(high, next_high)),
                vreinterpretq_s8_s32(vzip2q_s32(high, next_high)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn multiply(acc: Self::Acc, a: Self::A, w: Self::W) -> Self::Acc {
        // SAFETY: i8mm is the caller's promise.
        unsafe {
            [smmla(acc[0], a, w[0]), smmla(acc[1], a, w[1]), smmla(acc[2], a, w[2]), smmla(acc[3], a, w[3])]
        }
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, sums: *mut [i32; PANEL_ROWS], stride: usize) {
        // SAFETY: the caller lets us write 8 sums at both places; NEON is its promise.
        unsafe {
            let wide = |i: usize| vreinterpretq_s64_s32(acc[i]);
            let first = |i: usize| vreinterpretq_s32_s64(vzip1q_s64(wide(i), wide(i + 1)));
            let second = |i: usize| vreinterpretq_s32_s64(vzip2q_s64(wide(i), wide(i + 1)));
            store(first(0), first(2), sums);
            store(second(0), second(2), sums.add(stride));
        }
    }

    #[inline(always)]
    fn prefetch(panel: *const i8, ahead: usize) {
        prefetch(panel.cast(), ahead);
    }
}
