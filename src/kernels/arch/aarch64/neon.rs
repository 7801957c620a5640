//! Tiles for ARMv8.0 NEON, which every aarch64 CPU has.

#![allow(unsafe_code)]

use core::arch::aarch64::*;
use core::arch::asm;
use core::marker::PhantomData;

use half::f16;

use crate::kernels::Isa;
use crate::kernels::gemm::{Int4, Lanes, Nibbles, Product, Tile, gemm};
use crate::kernels::table::{Gemm, GemmKernels, Kernels, gemm_kernel, score_kernel, with_features};
use crate::tensor::{ColumnsMut, I4Block, K_GROUP, PANEL_ROWS};

pub(in crate::kernels) static NEON: Kernels = Kernels {
    isa: Isa::Neon,
    // Compiled for the target's baseline, which is NEON.
    rows: &crate::kernels::arch::portable::ROWS,
    gemm: GEMM,
};

pub(super) const GEMM: GemmKernels = GemmKernels {
    i8: Gemm { run: gemm_i8, isa: Isa::Neon, tile: (4, 8), offset: 0 },
    i4: gemm_kernel!(Isa::Neon, target_feature(enable = "neon"); Int4<Int8<1>> [4, 1, 1]),
    f16: gemm_kernel!(Isa::Neon, target_feature(enable = "neon"); Float<f16> [4, 2, 4]),
    f32: gemm_kernel!(Isa::Neon, target_feature(enable = "neon"); Float<f32> [4, 2, 4]),
    scores: score_kernel!(target_feature(enable = "neon"); Float<f32>),
    is_half: false,
};

with_features! { target_feature(enable = "neon");
    fn gemm_i8(product: &Product<'_, i8, i8>, out: ColumnsMut<'_>) = gemm_by_rows;
}

/// A single row leaves room in the registers for longer steps.
///
/// # Safety
/// The CPU must have NEON.
#[inline(always)]
unsafe fn gemm_by_rows(product: &Product<'_, i8, i8>, out: ColumnsMut<'_>) {
    // SAFETY: the caller's promise.
    unsafe {
        match out.rows() {
            1 => gemm::<Int8<2>, 1, 1, 2>(product, out),
            _ => gemm::<Int8<1>, 4, 1, 1>(product, out),
        }
    }
}

/// Asks for the cache line `ahead` bytes behind an address; any will do.
#[inline(always)]
pub(super) fn prefetch(address: *const u8, ahead: usize) {
    // SAFETY: a prefetch reads nothing and never faults.
    unsafe {
        asm!(
            "prfm pldl1keep, [{0}, {1}]", in(reg) address, in(reg) ahead,
            options(nostack, preserves_flags, readonly),
        );
    }
}

/// Writes two registers of four.
///
/// # Safety
/// `sums` must be writable, and the CPU must have NEON.
#[inline(always)]
pub(super) unsafe fn store(low: int32x4_t, high: int32x4_t, sums: *mut [i32; PANEL_ROWS]) {
    // SAFETY: the caller's promises.
    unsafe {
        vst1q_s32(sums.cast(), low);
        vst1q_s32(sums.cast::<i32>().add(4), high);
    }
}

/// Four elements, repeated over a register. Assembly, because the compiler, once it knows that both halves are equal,
/// takes apart the weights instead of using the instructions for upper halves.
///
/// # Safety
/// Four elements must be readable, and the CPU must have NEON.
#[inline(always)]
unsafe fn repeat(group: *const i8) -> int8x16_t {
    let repeated;
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "ld1r {{{0:v}.4s}}, [{1}]", out(vreg) repeated, in(reg) group,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    repeated
}

/// int8 by int8 without `sdot`: products of two k groups are added in 16 bits, which holds two of at most
/// 127 * 127 (or a damaged file's 128 * 128), then neighbouring pairs are added to 32 bits. A step takes PAIRS such pairs
/// of groups.
struct Int8<const PAIRS: usize>;

impl<const PAIRS: usize> Tile for Int8<PAIRS> {
    type Input = i8;
    type Weight = i8;
    type Sum = i32;
    const DEPTH: usize = PAIRS * 2 * K_GROUP;
    /// Each group repeated over a register.
    type A = [[int8x16_t; 2]; PAIRS];
    /// Rows 0 to 3 and 4 to 7 of the first group of a pair, then of the second.
    type W = [[int8x16_t; 4]; PAIRS];
    /// Two partial sums of rows 0 and 1, 2 and 3, 4 and 5, 6 and 7.
    type Acc = [int32x4_t; 4];

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        // SAFETY: NEON is the caller's promise.
        unsafe { [vdupq_n_s32(0); 4] }
    }

    #[inline(always)]
    unsafe fn load_a(row: *const i8, _stride: usize) -> Self::A {
        // SAFETY: the caller lets us read `DEPTH` elements; NEON is its promise.
        unsafe {
            let mut a = [[vdupq_n_s8(0); 2]; PAIRS];
            for (pair, a) in a.iter_mut().enumerate() {
                let row = row.add(pair * 2 * K_GROUP);
                *a = [repeat(row), repeat(row.add(K_GROUP))];
            }
            a
        }
    }

    #[inline(always)]
    unsafe fn load_w(panel: *const i8) -> Self::W {
        // SAFETY: the caller lets us read `8 * DEPTH` elements; NEON is its promise.
        unsafe {
            let mut w = [[vdupq_n_s8(0); 4]; PAIRS];
            for (pair, w) in w.iter_mut().enumerate() {
                let panel = panel.add(pair * 64);
                *w = [
                    vld1q_s8(panel),
                    vld1q_s8(panel.add(16)),
                    vld1q_s8(panel.add(32)),
                    vld1q_s8(panel.add(48)),
                ];
            }
            w
        }
    }

    #[inline(always)]
    unsafe fn multiply(mut acc: Self::Acc, a: Self::A, w: Self::W) -> Self::Acc {
        for (a, w) in a.iter().zip(&w) {
            // SAFETY: NEON is the caller's promise.
            unsafe {
                let low = |i: usize| {
                    let products = vmull_s8(vget_low_s8(w[i]), vget_low_s8(a[0]));
                    vmlal_s8(products, vget_low_s8(w[i + 2]), vget_low_s8(a[1]))
                };
                let high = |i: usize| vmlal_high_s8(vmull_high_s8(w[i], a[0]), w[i + 2], a[1]);
                acc = [
                    vpadalq_s16(acc[0], low(0)),
                    vpadalq_s16(acc[1], high(0)),
                    vpadalq_s16(acc[2], low(1)),
                    vpadalq_s16(acc[3], high(1)),
                ];
            }
        }
        acc
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, sums: *mut [i32; PANEL_ROWS], _stride: usize) {
        // SAFETY: the caller lets us write 8 sums; NEON is its promise.
        unsafe { store(vpaddq_s32(acc[0], acc[1]), vpaddq_s32(acc[2], acc[3]), sums) };
    }

    #[inline(always)]
    fn prefetch(panel: *const i8, ahead: usize) {
        for pair in 0..PAIRS {
            prefetch(panel.cast(), ahead + pair * 64);
        }
    }
}

impl Nibbles for Int8<1> {
    #[inline(always)]
    unsafe fn unpack(block: &I4Block, k: usize) -> Self::W {
        // SAFETY: NEON is the caller's promise.
        unsafe { [nibbles(block, k)] }
    }

    #[inline(always)]
    unsafe fn add_steps(acc: Self::Acc, sums: Self::Acc, steps: &[u8; PANEL_ROWS]) -> Self::Acc {
        // SAFETY: NEON is the caller's promise.
        unsafe {
            let [low, high] = widened(steps);
            let pairs =
                [vzip1q_s32(low, low), vzip2q_s32(low, low), vzip1q_s32(high, high), vzip2q_s32(high, high)];
            let add = |i: usize| vmlaq_s32(acc[i], vshrq_n_s32::<4>(sums[i]), pairs[i]);
            [add(0), add(1), add(2), add(3)]
        }
    }
}

/// 16 times the values of the eight columns from `k` on: rows 0 to 3 and 4 to 7 of the first four, then of the last.
///
/// # Safety
/// The CPU must have NEON.
#[inline(always)]
pub(super) unsafe fn nibbles(block: &I4Block, k: usize) -> [int8x16_t; 4] {
    let bytes = block.values[k / 8].as_ptr().cast::<u8>();
    // SAFETY: eight rows of four bytes are two registers; NEON is the caller's promise.
    unsafe {
        let (low, high) = (vld1q_u8(bytes), vld1q_u8(bytes.add(16)));
        let first = |bytes| vreinterpretq_s8_u8(vshlq_n_u8::<4>(bytes));
        let last = |bytes| vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(0xF0)));
        [first(low), first(high), last(low), last(high)]
    }
}

/// The steps of rows 0 to 3 and 4 to 7 in 32 bits.
///
/// # Safety
/// The CPU must have NEON.
#[inline(always)]
pub(super) unsafe fn widened(steps: &[u8; PANEL_ROWS]) -> [int32x4_t; 2] {
    // SAFETY: NEON is the caller's promise.
    unsafe {
        let steps = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(steps.as_ptr())));
        [vmovl_s16(vget_low_s16(steps)), vmovl_high_s16(steps)]
    }
}

/// f32 by f32 or f16: a multiplication and an addition, never fused.
pub(super) struct Float<W>(PhantomData<W>);

/// Eight weights to f32.
pub(super) trait Load: Copy + Default {
    /// # Safety
    /// Eight elements must be readable, and the CPU must have NEON.
    unsafe fn load(weights: *const Self) -> [float32x4_t; 2];
}

impl Load for f32 {
    #[inline(always)]
    unsafe fn load(weights: *const f32) -> [float32x4_t; 2] {
        // SAFETY: the caller's promise.
        unsafe { [vld1q_f32(weights), vld1q_f32(weights.add(4))] }
    }
}

impl Load for f16 {
    #[inline(always)]
    unsafe fn load(weights: *const f16) -> [float32x4_t; 2] {
        // SAFETY: the caller's promise; `f16` is two bytes, of any bits.
        unsafe {
            let halves = vld1q_u16(weights.cast());
            let low = vreinterpret_f16_u16(vget_low_u16(halves));
            let high = vreinterpret_f16_u16(vget_high_u16(halves));
            [vcvt_f32_f16(low), vcvt_f32_f16(high)]
        }
    }
}

impl<W: Load> Tile for Float<W> {
    type Input = f32;
    type Weight = W;
    type Sum = f32;
    const DEPTH: usize = 1;
    type A = float32x4_t;
    type W = [float32x4_t; 2];
    type Acc = [float32x4_t; 2];

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        // SAFETY: NEON is the caller's promise.
        unsafe { [vdupq_n_f32(0.0); 2] }
    }

    #[inline(always)]
    unsafe fn load_a(row: *const f32, _stride: usize) -> Self::A {
        // SAFETY: the caller lets us read one element; NEON is its promise.
        unsafe { vdupq_n_f32(*row) }
    }

    #[inline(always)]
    unsafe fn load_w(panel: *const W) -> Self::W {
        // SAFETY: the caller lets us read 8 elements; NEON is its promise.
        unsafe { W::load(panel) }
    }

    #[inline(always)]
    unsafe fn multiply(acc: Self::Acc, a: Self::A, w: Self::W) -> Self::Acc {
        // SAFETY: NEON is the caller's promise.
        unsafe { [vaddq_f32(acc[0], vmulq_f32(a, w[0])), vaddq_f32(acc[1], vmulq_f32(a, w[1]))] }
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, sums: *mut [f32; PANEL_ROWS], _stride: usize) {
        // SAFETY: the caller lets us write 8 sums; NEON is its promise.
        unsafe {
            vst1q_f32(sums.cast(), acc[0]);
            vst1q_f32(sums.cast::<f32>().add(4), acc[1]);
        }
    }

    #[inline(always)]
    fn prefetch(panel: *const W, ahead: usize) {
        prefetch(panel.cast(), ahead);
    }
}

impl Lanes for Float<f32> {
    #[inline(always)]
    unsafe fn load_four(row: *const f32) -> Self::A {
        // SAFETY: the caller lets us read four elements; NEON is its promise.
        unsafe { vld1q_f32(row) }
    }

    #[inline(always)]
    unsafe fn product(a: Self::A, w: Self::W) -> Self::Acc {
        // SAFETY: NEON is the caller's promise.
        unsafe { [vmulq_f32(a, w[0]), vmulq_f32(a, w[1])] }
    }

    #[inline(always)]
    unsafe fn add(a: Self::Acc, b: Self::Acc) -> Self::Acc {
        // SAFETY: NEON is the caller's promise.
        unsafe { [vaddq_f32(a[0], b[0]), vaddq_f32(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn combine(sums: [Self::Acc; 4]) -> Self::Acc {
        // SAFETY: NEON is the caller's promise.
        unsafe {
            let halves = |[x, y]: Self::Acc| {
                let low = vcombine_f32(vget_low_f32(x), vget_low_f32(y));
                vaddq_f32(low, vcombine_f32(vget_high_f32(x), vget_high_f32(y)))
            };
            [vpaddq_f32(halves(sums[0]), halves(sums[1])), vpaddq_f32(halves(sums[2]), halves(sums[3]))]
        }
    }
}
