//! Tiles for VNNI: one instruction multiplies and adds four unsigned by four signed bytes.
//!
//! The activations are stored with 128 added, which makes them unsigned; 128 times the sum of the weights' row is taken
//! back off by the frame, in integers. AVX-512-VNNI on 256-bit registers and AVX-VNNI are the same instruction in two encodings:
//! one tile serves both, and one test of either covers it.

#![allow(unsafe_code)]

use core::arch::x86_64::*;
use core::marker::PhantomData;

use super::avx2::{self, group};
use crate::kernels::Isa;
use crate::kernels::gemm::{Int4, Nibbles, Tile};
use crate::kernels::table::{GemmKernels, Kernels, RowKernels, gemm_kernel, row_kernels};
use crate::tensor::{I4Block, K_GROUP, PANEL_ROWS};

pub(in crate::kernels) static AVX_VNNI: Kernels = Kernels {
    isa: Isa::AvxVnni,
    rows: &avx2::ROWS,
    gemm: GemmKernels {
        i8: gemm_kernel!(Isa::AvxVnni, target_feature(enable = "avx2,avxvnni"); Int8<Vex> [4, 2, 8]),
        i4: gemm_kernel!(Isa::AvxVnni, target_feature(enable = "avx2,avxvnni"); Int4<Int8<Vex>> [2, 2, 4]),
        ..avx2::GEMM
    },
};

pub(in crate::kernels) static AVX512_VNNI: Kernels = Kernels {
    isa: Isa::Avx512Vnni,
    rows: &ROWS,
    gemm: GemmKernels {
        i8: gemm_kernel!(
            Isa::Avx512Vnni, target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni");
            Int8<Evex> [4, 4, 8]
        ),
        i4: gemm_kernel!(
            Isa::Avx512Vnni, target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni");
            Int4<Int8<Evex>> [4, 4, 4]
        ),
        ..avx2::GEMM
    },
};

static ROWS: RowKernels = row_kernels!(target_feature(enable = "avx512f,avx512bw,avx512vl"));

/// The instruction in one of its encodings.
trait Encoding {
    /// As [`Tile::ASKS_IN_STREAM`].
    const ASKS_IN_STREAM: bool;

    /// `acc + a * w`, a unsigned.
    ///
    /// # Safety
    /// The CPU must have this encoding.
    unsafe fn dpbusd(acc: __m256i, a: __m256i, w: __m256i) -> __m256i;

    /// Asks for the cache line `ahead` bytes behind an address; any will do.
    fn prefetch(address: *const u8, ahead: usize);
}

/// AVX-VNNI, which Intel's CPUs have.
struct Vex;

impl Encoding for Vex {
    const ASKS_IN_STREAM: bool = true;

    #[inline(always)]
    unsafe fn dpbusd(acc: __m256i, a: __m256i, w: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_dpbusd_avx_epi32(acc, a, w) }
    }

    #[inline(always)]
    fn prefetch(address: *const u8, ahead: usize) {
        avx2::prefetch(address, ahead);
    }
}

/// AVX-512-VNNI with AVX-512-VL; asks as is best for a Zen 4.
struct Evex;

impl Encoding for Evex {
    const ASKS_IN_STREAM: bool = false;

    #[inline(always)]
    unsafe fn dpbusd(acc: __m256i, a: __m256i, w: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_dpbusd_epi32(acc, a, w) }
    }

    /// Into the second-level cache: these products are so fast that memory needs more lines in flight than the first level
    /// can wait for.
    #[inline(always)]
    fn prefetch(address: *const u8, ahead: usize) {
        // SAFETY: a prefetch reads nothing and never faults, and every x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(address.wrapping_add(ahead).cast()) };
    }
}

/// int8 by int8.
struct Int8<E>(PhantomData<E>);

impl<E: Encoding> Tile for Int8<E> {
    type Input = i8;
    type Weight = i8;
    type Sum = i32;
    /// A cache line of weights: two groups of each row.
    const DEPTH: usize = 2 * K_GROUP;
    const OFFSET: i32 = 128;
    const ASKS_IN_STREAM: bool = E::ASKS_IN_STREAM;
    type A = [__m256i; 2];
    type W = [__m256i; 2];
    type Acc = __m256i;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        // SAFETY: AVX2 is the caller's promise.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn load_a(row: *const i8, _stride: usize) -> Self::A {
        // SAFETY: the caller lets us read 8 elements; AVX2 is its promise.
        unsafe { [group(row), group(row.add(K_GROUP))] }
    }

    #[inline(always)]
    unsafe fn load_w(panel: *const i8) -> Self::W {
        // SAFETY: the caller lets us read 64 elements; AVX2 is its promise.
        unsafe { [_mm256_loadu_si256(panel.cast()), _mm256_loadu_si256(panel.add(32).cast())] }
    }

    #[inline(always)]
    unsafe fn multiply(acc: Self::Acc, a: Self::A, w: Self::W) -> Self::Acc {
        // SAFETY: the encoding is the caller's promise.
        unsafe { E::dpbusd(E::dpbusd(acc, a[0], w[0]), a[1], w[1]) }
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, sums: *mut [i32; PANEL_ROWS], _stride: usize) {
        // SAFETY: the caller lets us write 8 sums; AVX2 is its promise.
        unsafe { _mm256_storeu_si256(sums.cast(), acc) };
    }

    #[inline(always)]
    fn prefetch(panel: *const i8, ahead: usize) {
        E::prefetch(panel.cast(), ahead);
    }
}

impl<E: Encoding> Nibbles for Int8<E> {
    #[inline(always)]
    unsafe fn unpack(block: &I4Block, k: usize) -> Self::W {
        // SAFETY: AVX2 is the caller's promise.
        unsafe { avx2::nibbles(block, k) }
    }

    #[inline(always)]
    unsafe fn add_steps(acc: Self::Acc, sums: Self::Acc, steps: &[u8; PANEL_ROWS]) -> Self::Acc {
        // SAFETY: AVX2 is the caller's promise.
        unsafe { avx2::add_steps(acc, sums, steps) }
    }
}
