//! The int8 tile for `sdot`: four rows by four k in one instruction.

#![allow(unsafe_code)]

use core::arch::aarch64::*;
use core::arch::asm;

use super::neon::{self, nibbles, prefetch, store, widened};
use crate::kernels::Isa;
use crate::kernels::gemm::{Int4, Nibbles, Tile};
use crate::kernels::table::{GemmKernels, Kernels, gemm_kernel};
use crate::tensor::{I4Block, K_GROUP, PANEL_ROWS};

pub(in crate::kernels) static NEON_DOTPROD: Kernels =
    Kernels { isa: Isa::NeonDotprod, rows: &crate::kernels::arch::portable::ROWS, gemm: GEMM };

pub(super) const GEMM: GemmKernels = GemmKernels {
    i8: gemm_kernel!(Isa::NeonDotprod, target_feature(enable = "neon,dotprod"); Int8 [8, 1, 2]),
    i4: gemm_kernel!(Isa::NeonDotprod, target_feature(enable = "neon,dotprod"); Int4<Int8> [4, 1, 1]),
    ..neon::GEMM
};

/// `acc + w · (group LANE of a)` for four rows: the stable library has no intrinsic for it.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot<const LANE: i32>(mut acc: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
    // SAFETY: works on registers only, and this function has the feature.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {w:v}.16b, {a:v}.4b[{lane}]",
            acc = inout(vreg) acc, w = in(vreg) w, a = in(vreg) a, lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// int8 by int8, four groups at a time: one load of activations serves four pairs of `sdot`.
pub(super) struct Int8;

impl Tile for Int8 {
    type Input = i8;
    type Weight = i8;
    type Sum = i32;
    const DEPTH: usize = 4 * K_GROUP;
    type A = int8x16_t;
    /// Rows 0 to 3 and 4 to 7 of each group.
    type W = [int8x16_t; 8];
    /// Rows 0 to 3 and 4 to 7.
    type Acc = [int32x4_t; 2];

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        // SAFETY: NEON is the caller's promise.
        unsafe { [vdupq_n_s32(0); 2] }
    }

    #[inline(always)]
    unsafe fn load_a(row: *const i8, _stride: usize) -> Self::A {
        // SAFETY: the caller lets us read 16 elements; NEON is its promise.
        unsafe { vld1q_s8(row) }
    }

    #[inline(always)]
    unsafe fn load_w(panel: *const i8) -> Self::W {
        // SAFETY: the caller lets us read 128 elements; NEON is its promise.
        unsafe {
            [
                vld1q_s8(panel),
                vld1q_s8(panel.add(16)),
                vld1q_s8(panel.add(32)),
                vld1q_s8(panel.add(48)),
                vld1q_s8(panel.add(64)),
                vld1q_s8(panel.add(80)),
                vld1q_s8(panel.add(96)),
                vld1q_s8(panel.add(112)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn multiply([low, high]: Self::Acc, a: Self::A, w: Self::W) -> Self::Acc {
        // SAFETY: dotprod is the caller's promise.
        unsafe {
            let (low, high) = (sdot::<0>(low, w[0], a), sdot::<0>(high, w[1], a));
            let (low, high) = (sdot::<1>(low, w[2], a), sdot::<1>(high, w[3], a));
            let (low, high) = (sdot::<2>(low, w[4], a), sdot::<2>(high, w[5], a));
            [sdot::<3>(low, w[6], a), sdot::<3>(high, w[7], a)]
        }
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, sums: *mut [i32; PANEL_ROWS], _stride: usize) {
        // SAFETY: the caller lets us write 8 sums; NEON is its promise.
        unsafe { store(acc[0], acc[1], sums) };
    }

    #[inline(always)]
    fn prefetch(panel: *const i8, ahead: usize) {
        prefetch(panel.cast(), ahead);
        prefetch(panel.cast(), ahead + 64);
    }
}

impl Nibbles for Int8 {
    #[inline(always)]
    unsafe fn unpack(block: &I4Block, k: usize) -> Self::W {
        // SAFETY: NEON is the caller's promise.
        unsafe {
            let ([a, b, c, d], [e, f, g, h]) = (nibbles(block, k), nibbles(block, k + 8));
            [a, b, c, d, e, f, g, h]
        }
    }

    #[inline(always)]
    unsafe fn add_steps(acc: Self::Acc, sums: Self::Acc, steps: &[u8; PANEL_ROWS]) -> Self::Acc {
        // SAFETY: NEON is the caller's promise.
        unsafe {
            let [low, high] = widened(steps);
            [
                vmlaq_s32(acc[0], vshrq_n_s32::<4>(sums[0]), low),
                vmlaq_s32(acc[1], vshrq_n_s32::<4>(sums[1]), high),
            ]
        }
    }
}
