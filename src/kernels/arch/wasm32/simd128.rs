//! Tiles for simd128.

#![allow(unsafe_code)]

use core::arch::wasm32::*;
use core::marker::PhantomData;

use half::f16;

use crate::kernels::Isa;
use crate::kernels::gemm::{Int4, Lanes, Nibbles, Tile};
use crate::kernels::table::{GemmKernels, Kernels, gemm_kernel, score_kernel};
use crate::tensor::{I4Block, K_GROUP, PANEL_ROWS};

pub(in crate::kernels) static WASM_SIMD128: Kernels = Kernels {
    isa: Isa::WasmSimd128,
    // Compiled for the target, which has simd128.
    rows: &crate::kernels::arch::portable::ROWS,
    gemm: GemmKernels {
        i8: gemm_kernel!(Isa::WasmSimd128, target_feature(enable = "simd128"); Int8 [2, 1, 2]),
        i4: gemm_kernel!(Isa::WasmSimd128, target_feature(enable = "simd128"); Int4<Int8> [2, 1, 1]),
        f16: gemm_kernel!(Isa::WasmSimd128, target_feature(enable = "simd128"); Float<f16> [4, 1, 4]),
        f32: gemm_kernel!(Isa::WasmSimd128, target_feature(enable = "simd128"); Float<f32> [4, 1, 4]),
        scores: score_kernel!(target_feature(enable = "simd128"); Float<f32>),
        is_half: false,
    },
};

/// int8 by int8: bytes are widened to 16 bits, whose products are added by pairs in 32.
struct Int8;

impl Tile for Int8 {
    type Input = i8;
    type Weight = i8;
    type Sum = i32;
    const DEPTH: usize = K_GROUP;
    /// The group twice, in 16 bits.
    type A = v128;
    /// Rows 0 and 1, 2 and 3, 4 and 5, 6 and 7, in 16 bits.
    type W = [v128; 4];
    /// Two partial sums of each row.
    type Acc = [v128; 4];

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        [i32x4_splat(0); 4]
    }

    #[inline(always)]
    unsafe fn load_a(row: *const i8, _stride: usize) -> Self::A {
        // SAFETY: the caller lets us read 4 elements.
        let group = unsafe { row.cast::<i32>().read_unaligned() };
        i16x8_extend_low_i8x16(i32x4_splat(group))
    }

    #[inline(always)]
    unsafe fn load_w(panel: *const i8) -> Self::W {
        // SAFETY: the caller lets us read 32 elements.
        unsafe {
            [
                i16x8_load_extend_i8x8(panel),
                i16x8_load_extend_i8x8(panel.add(8)),
                i16x8_load_extend_i8x8(panel.add(16)),
                i16x8_load_extend_i8x8(panel.add(24)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn multiply(acc: Self::Acc, a: Self::A, w: Self::W) -> Self::Acc {
        [
            i32x4_add(acc[0], i32x4_dot_i16x8(a, w[0])),
            i32x4_add(acc[1], i32x4_dot_i16x8(a, w[1])),
            i32x4_add(acc[2], i32x4_dot_i16x8(a, w[2])),
            i32x4_add(acc[3], i32x4_dot_i16x8(a, w[3])),
        ]
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, sums: *mut [i32; PANEL_ROWS], _stride: usize) {
        let add_pairs =
            |a, b| i32x4_add(i32x4_shuffle::<0, 2, 4, 6>(a, b), i32x4_shuffle::<1, 3, 5, 7>(a, b));
        // SAFETY: the caller lets us write 8 sums.
        unsafe {
            v128_store(sums.cast(), add_pairs(acc[0], acc[1]));
            v128_store(sums.cast::<v128>().add(1), add_pairs(acc[2], acc[3]));
        }
    }
}

impl Nibbles for Int8 {
    #[inline(always)]
    unsafe fn unpack(block: &I4Block, k: usize) -> Self::W {
        let bytes = block.values[k / 8].as_ptr().cast::<v128>();
        // SAFETY: eight rows of four bytes are two registers.
        let (low, high) = unsafe { (v128_load(bytes), v128_load(bytes.add(1))) };
        let values = |bytes| {
            let bytes = if k.is_multiple_of(8) { u8x16_shl(bytes, 4) } else { bytes };
            v128_and(bytes, u8x16_splat(0xF0))
        };
        let (low, high) = (values(low), values(high));
        [
            i16x8_extend_low_i8x16(low),
            i16x8_extend_high_i8x16(low),
            i16x8_extend_low_i8x16(high),
            i16x8_extend_high_i8x16(high),
        ]
    }

    #[inline(always)]
    unsafe fn add_steps(acc: Self::Acc, sums: Self::Acc, steps: &[u8; PANEL_ROWS]) -> Self::Acc {
        let step = |row: usize| i32::from(steps[row]);
        let add = |i: usize| {
            let (first, second) = (step(2 * i), step(2 * i + 1));
            let steps = i32x4(first, first, second, second);
            i32x4_add(acc[i], i32x4_mul(i32x4_shr(sums[i], 4), steps))
        };
        [add(0), add(1), add(2), add(3)]
    }
}

/// f32 by f32 or f16.
struct Float<W>(PhantomData<W>);

/// Eight weights to f32.
trait Load: Copy + Default {
    /// # Safety
    /// Eight elements must be readable.
    unsafe fn load(weights: *const Self) -> [v128; 2];
}

impl Load for f32 {
    #[inline(always)]
    unsafe fn load(weights: *const f32) -> [v128; 2] {
        // SAFETY: the caller's promise.
        unsafe { [v128_load(weights.cast()), v128_load(weights.add(4).cast())] }
    }
}

impl Load for f16 {
    #[inline(always)]
    unsafe fn load(weights: *const f16) -> [v128; 2] {
        let bits = weights.cast::<u16>();
        // SAFETY: the caller's promise; `f16` is two bytes.
        unsafe { [widen(u32x4_load_extend_u16x4(bits)), widen(u32x4_load_extend_u16x4(bits.add(4)))] }
    }
}

/// f32 of f16 bits: the exponent moves from 5 to 8 bits by a multiplication, which makes subnormal numbers right.
#[inline(always)]
fn widen(bits: v128) -> v128 {
    let magnitude = i32x4_shl(v128_and(bits, i32x4_splat(0x7FFF)), 13);
    let number = f32x4_mul(magnitude, f32x4_splat(f32::from_bits((127 + 112) << 23)));
    let exponent = i32x4_splat(0x7C00);
    let special = v128_and(i32x4_eq(v128_and(bits, exponent), exponent), i32x4_splat(0x7F80_0000));
    let sign = i32x4_shl(v128_and(bits, i32x4_splat(0x8000)), 16);
    v128_or(v128_or(number, special), sign)
}

impl<W: Load> Tile for Float<W> {
    type Input = f32;
    type Weight = W;
    type Sum = f32;
    const DEPTH: usize = 1;
    type A = v128;
    type W = [v128; 2];
    type Acc = [v128; 2];

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        [f32x4_splat(0.0); 2]
    }

    #[inline(always)]
    unsafe fn load_a(row: *const f32, _stride: usize) -> Self::A {
        // SAFETY: the caller lets us read one element.
        f32x4_splat(unsafe { *row })
    }

    #[inline(always)]
    unsafe fn load_w(panel: *const W) -> Self::W {
        // SAFETY: the caller lets us read 8 elements.
        unsafe { W::load(panel) }
    }

    #[inline(always)]
    unsafe fn multiply(acc: Self::Acc, a: Self::A, w: Self::W) -> Self::Acc {
        [f32x4_add(acc[0], f32x4_mul(a, w[0])), f32x4_add(acc[1], f32x4_mul(a, w[1]))]
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, sums: *mut [f32; PANEL_ROWS], _stride: usize) {
        // SAFETY: the caller lets us write 8 sums.
        unsafe {
            v128_store(sums.cast(), acc[0]);
            v128_store(sums.cast::<v128>().add(1), acc[1]);
        }
    }
}

impl Lanes for Float<f32> {
    #[inline(always)]
    unsafe fn load_four(row: *const f32) -> Self::A {
        // SAFETY: the caller lets us read four elements.
        unsafe { v128_load(row.cast()) }
    }

    #[inline(always)]
    unsafe fn product(a: Self::A, w: Self::W) -> Self::Acc {
        [f32x4_mul(a, w[0]), f32x4_mul(a, w[1])]
    }

    #[inline(always)]
    unsafe fn add(a: Self::Acc, b: Self::Acc) -> Self::Acc {
        [f32x4_add(a[0], b[0]), f32x4_add(a[1], b[1])]
    }

    #[inline(always)]
    unsafe fn combine(sums: [Self::Acc; 4]) -> Self::Acc {
        let halves = |[x, y]: Self::Acc| f32x4_add(i64x2_shuffle::<0, 2>(x, y), i64x2_shuffle::<1, 3>(x, y));
        let quarters = |x, y| f32x4_add(i32x4_shuffle::<0, 2, 4, 6>(x, y), i32x4_shuffle::<1, 3, 5, 7>(x, y));
        [quarters(halves(sums[0]), halves(sums[1])), quarters(halves(sums[2]), halves(sums[3]))]
    }
}
