//! Tiles in plain Rust, for every target.

#![allow(unsafe_code)]

use core::marker::PhantomData;

use half::f16;

use crate::kernels::Isa;
use crate::kernels::gemm::{Int4, Lanes, Nibbles, Tile};
use crate::kernels::table::{GemmKernels, Kernels, RowKernels, gemm_kernel, row_kernels, score_kernel};
use crate::tensor::{I4Block, K_GROUP, PANEL_ROWS};

pub(in crate::kernels) static ROWS: RowKernels = row_kernels!(inline);

pub(in crate::kernels) static PORTABLE: Kernels = Kernels {
    isa: Isa::Portable,
    rows: &ROWS,
    gemm: GemmKernels {
        i8: gemm_kernel!(Isa::Portable, inline; Int8 [2, 1, 1]),
        i4: gemm_kernel!(Isa::Portable, inline; Int4<Int8> [1, 1, 1]),
        f16: gemm_kernel!(Isa::Portable, inline; Float<f16> [2, 1, 2]),
        f32: gemm_kernel!(Isa::Portable, inline; Float<f32> [2, 1, 2]),
        scores: score_kernel!(inline; Float<f32>),
        is_half: false,
    },
};

/// int8 by int8, four k at a time.
struct Int8;

impl Tile for Int8 {
    type Input = i8;
    type Weight = i8;
    type Sum = i32;
    const DEPTH: usize = K_GROUP;
    type A = [i8; K_GROUP];
    type W = [[i8; K_GROUP]; PANEL_ROWS];
    type Acc = [i32; PANEL_ROWS];

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        [0; PANEL_ROWS]
    }

    #[inline(always)]
    unsafe fn load_a(row: *const i8, _stride: usize) -> Self::A {
        // SAFETY: the caller lets us read DEPTH elements.
        unsafe { row.cast::<Self::A>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_w(panel: *const i8) -> Self::W {
        // SAFETY: the caller lets us read 8 * DEPTH elements.
        unsafe { panel.cast::<Self::W>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn multiply(mut acc: Self::Acc, a: Self::A, w: Self::W) -> Self::Acc {
        for (acc, w) in acc.iter_mut().zip(w) {
            // Wrapping, so that a file with weights of -128 and endless rows cannot make it panic.
            for (a, w) in a.iter().zip(w) {
                *acc = acc.wrapping_add(i32::from(*a) * i32::from(w));
            }
        }
        acc
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, sums: *mut [i32; PANEL_ROWS], _stride: usize) {
        // SAFETY: the caller lets us write it.
        unsafe { *sums = acc };
    }
}

impl Nibbles for Int8 {
    #[inline(always)]
    unsafe fn unpack(block: &I4Block, k: usize) -> Self::W {
        let shift = if k.is_multiple_of(8) { 4 } else { 0 };
        block.values[k / 8].map(|bytes| bytes.map(|byte| ((byte << shift) & 0xF0) as i8))
    }

    #[inline(always)]
    unsafe fn add_steps(acc: Self::Acc, sums: Self::Acc, steps: &[u8; PANEL_ROWS]) -> Self::Acc {
        core::array::from_fn(|i| acc[i].wrapping_add((sums[i] >> 4).wrapping_mul(i32::from(steps[i]))))
    }
}

/// f32 by a float `W`, one k at a time.
struct Float<W>(PhantomData<W>);

/// A weight that widens to f32 exactly.
trait Widen: Copy + Default {
    fn widen(self) -> f32;
}

impl Widen for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Widen for f16 {
    /// The exponent moves from 5 to 8 bits by a multiplication, which makes subnormal numbers right as well.
    #[inline(always)]
    fn widen(self) -> f32 {
        let bits = u32::from(self.to_bits());
        let magnitude = f32::from_bits((bits & 0x7FFF) << 13) * f32::from_bits((127 + 112) << 23);
        let special = if bits & 0x7C00 == 0x7C00 { 0x7F80_0000 } else { 0 };
        f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
    }
}

impl<W: Widen> Tile for Float<W> {
    type Input = f32;
    type Weight = W;
    type Sum = f32;
    const DEPTH: usize = 1;
    type A = [f32; 4];
    type W = [f32; PANEL_ROWS];
    type Acc = [f32; PANEL_ROWS];

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        [0.0; PANEL_ROWS]
    }

    #[inline(always)]
    unsafe fn load_a(row: *const f32, _stride: usize) -> Self::A {
        // SAFETY: the caller lets us read one element.
        unsafe { [row.read(); 4] }
    }

    #[inline(always)]
    unsafe fn load_w(panel: *const W) -> Self::W {
        // SAFETY: the caller lets us read 8 elements.
        let weights = unsafe { panel.cast::<[W; PANEL_ROWS]>().read() };
        let mut wide = [0.0; PANEL_ROWS];
        for (wide, weight) in wide.iter_mut().zip(weights) {
            *wide = weight.widen();
        }
        wide
    }

    #[inline(always)]
    unsafe fn multiply(mut acc: Self::Acc, a: Self::A, w: Self::W) -> Self::Acc {
        for i in 0..PANEL_ROWS {
            acc[i] += a[i % 4] * w[i];
        }
        acc
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, sums: *mut [f32; PANEL_ROWS], _stride: usize) {
        // SAFETY: the caller lets us write it.
        unsafe { *sums = acc };
    }
}

impl Lanes for Float<f32> {
    #[inline(always)]
    unsafe fn load_four(row: *const f32) -> Self::A {
        // SAFETY: the caller lets us read four elements.
        unsafe { row.cast::<Self::A>().read() }
    }

    #[inline(always)]
    unsafe fn product(a: Self::A, mut w: Self::W) -> Self::Acc {
        for i in 0..PANEL_ROWS {
            w[i] *= a[i % 4];
        }
        w
    }

    #[inline(always)]
    unsafe fn add(mut a: Self::Acc, b: Self::Acc) -> Self::Acc {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        a
    }

    #[inline(always)]
    unsafe fn combine(sums: [Self::Acc; 4]) -> Self::Acc {
        let mut combined = [0.0; PANEL_ROWS];
        for (combined, [a, b, c, d]) in combined.iter_mut().zip(sums.as_flattened().as_chunks().0) {
            *combined = (a + c) + (b + d);
        }
        combined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_widens_as_the_standard_says() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            let (got, want) = (half.widen(), half.to_f32());
            assert!(got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()), "{bits:#06x}");
        }
    }
}
