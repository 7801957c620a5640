//! Products with `f16` weights in half precision (FEAT_FP16): for [`Kernels::with_half_arithmetic`] alone.

#![allow(unsafe_code)]

use core::arch::aarch64::*;

use half::f16;

use super::{dotprod, i8mm, neon};
use crate::kernels::Isa;
use crate::kernels::arch::portable;
use crate::kernels::gemm::Tile;
use crate::kernels::table::{Gemm, GemmKernels, Kernels, gemm_kernel};
use crate::tensor::PANEL_ROWS;

pub(in crate::kernels) static NEON_DOTPROD_HALF: Kernels = Kernels {
    isa: Isa::NeonDotprod,
    rows: &portable::ROWS,
    gemm: GemmKernels { f16: GEMM, is_half: true, ..dotprod::GEMM },
};

pub(in crate::kernels) static NEON_I8MM_HALF: Kernels = Kernels {
    isa: Isa::NeonI8mm,
    rows: &portable::ROWS,
    gemm: GemmKernels { f16: GEMM, is_half: true, ..i8mm::GEMM },
};

const GEMM: Gemm<f32, f16> =
    gemm_kernel!(Isa::NeonDotprod, target_feature(enable = "neon,fp16"); Half [4, 1, 1]);

/// The sums of eight products for each of eight rows.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn products(a: float16x8_t, w: [float16x8_t; 8]) -> float16x8_t {
    let mut sums = vmulq_laneq_f16::<0>(w[0], a);
    sums = vfmaq_laneq_f16::<1>(sums, w[1], a);
    sums = vfmaq_laneq_f16::<2>(sums, w[2], a);
    sums = vfmaq_laneq_f16::<3>(sums, w[3], a);
    sums = vfmaq_laneq_f16::<4>(sums, w[4], a);
    sums = vfmaq_laneq_f16::<5>(sums, w[5], a);
    sums = vfmaq_laneq_f16::<6>(sums, w[6], a);
    vfmaq_laneq_f16::<7>(sums, w[7], a)
}

/// Activations are rounded to `f16`, and so are the sums of eight products, which are added in `f32`.
struct Half;

impl Tile for Half {
    type Input = f32;
    type Weight = f16;
    type Sum = f32;
    const DEPTH: usize = 8;
    type A = float16x8_t;
    /// Eight rows of each k.
    type W = [float16x8_t; 8];
    /// Rows 0 to 3 and 4 to 7.
    type Acc = [float32x4_t; 2];

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        // SAFETY: NEON is the caller's promise.
        unsafe { neon::Float::<f32>::zero() }
    }

    #[inline(always)]
    unsafe fn load_a(row: *const f32, _stride: usize) -> Self::A {
        // SAFETY: the caller lets us read 8 elements; NEON is its promise.
        unsafe { vcvt_high_f16_f32(vcvt_f16_f32(vld1q_f32(row)), vld1q_f32(row.add(4))) }
    }

    #[inline(always)]
    unsafe fn load_w(panel: *const f16) -> Self::W {
        // SAFETY: the caller lets us read 64 elements, of two bytes and any bits; NEON is its promise.
        unsafe {
            let rows = |k: usize| vreinterpretq_f16_u16(vld1q_u16(panel.add(k * PANEL_ROWS).cast()));
            [rows(0), rows(1), rows(2), rows(3), rows(4), rows(5), rows(6), rows(7)]
        }
    }

    #[inline(always)]
    unsafe fn multiply(acc: Self::Acc, a: Self::A, w: Self::W) -> Self::Acc {
        // SAFETY: FEAT_FP16 is the caller's promise.
        unsafe {
            let sums = products(a, w);
            let (low, high) = (vcvt_f32_f16(vget_low_f16(sums)), vcvt_high_f32_f16(sums));
            [vaddq_f32(acc[0], low), vaddq_f32(acc[1], high)]
        }
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, sums: *mut [f32; PANEL_ROWS], stride: usize) {
        // SAFETY: the caller's promises.
        unsafe { neon::Float::<f32>::store(acc, sums, stride) };
    }

    #[inline(always)]
    fn prefetch(panel: *const f16, ahead: usize) {
        neon::prefetch(panel.cast(), ahead);
    }
}
