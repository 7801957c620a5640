//! Tiles for AVX2 and F16C.

#![allow(unsafe_code)]

use core::arch::x86_64::*;
use core::marker::PhantomData;

use half::f16;

use crate::kernels::Isa;
use crate::kernels::gemm::{Int4, Lanes, Nibbles, Tile};
use crate::kernels::table::{GemmKernels, Kernels, RowKernels, gemm_kernel, row_kernels, score_kernel};
use crate::tensor::{I4Block, K_GROUP, PANEL_ROWS};

pub(super) static ROWS: RowKernels = row_kernels!(target_feature(enable = "avx2,f16c"));

pub(in crate::kernels) static AVX2: Kernels = Kernels { isa: Isa::Avx2, rows: &ROWS, gemm: GEMM };

pub(in crate::kernels) static AVX2_NARROW: Kernels = Kernels {
    isa: Isa::Avx2,
    rows: &ROWS,
    gemm: GemmKernels {
        i8: gemm_kernel!(Isa::Avx2, target_feature(enable = "avx2"); Unsigned<Widened> [4, 2, 4]),
        i4: gemm_kernel!(Isa::Avx2, target_feature(enable = "avx2"); Int4<Unsigned<BlockSums>> [8, 1, 2]),
        ..GEMM
    },
};

pub(super) const GEMM: GemmKernels = GemmKernels {
    i8: gemm_kernel!(Isa::Avx2, target_feature(enable = "avx2"); Int8 [2, 4, 4]),
    i4: gemm_kernel!(Isa::Avx2, target_feature(enable = "avx2"); Int4<Int8> [2, 2, 2]),
    f16: gemm_kernel!(Isa::Avx2, target_feature(enable = "avx2,f16c"); Float<f16> [4, 2, 8]),
    f32: gemm_kernel!(Isa::Avx2, target_feature(enable = "avx2"); Float<f32> [4, 2, 8]),
    scores: score_kernel!(target_feature(enable = "avx2"); Float<f32>),
    is_half: false,
};

/// Four elements, repeated over a register.
///
/// # Safety
/// Four elements must be readable, and the CPU must have AVX2.
#[inline(always)]
pub(super) unsafe fn group(elements: *const i8) -> __m256i {
    // SAFETY: the caller's promises.
    unsafe { _mm256_set1_epi32(elements.cast::<i32>().read_unaligned()) }
}

/// int8 by int8 without VNNI: `vpmaddubsw` multiplies unsigned by signed and adds pairs in 16 bits.
///
/// |a| times w with the sign of a is the product, and with both in [-127, 127] a pair is at most 2 * 127 * 127 = 32258:
/// it never saturates. (A damaged file's -128 keeps its sign where it should lose it, but stays below 32768 as well.)
struct Int8;

impl Tile for Int8 {
    type Input = i8;
    type Weight = i8;
    type Sum = i32;
    const DEPTH: usize = K_GROUP;
    /// a and |a|.
    type A = (__m256i, __m256i);
    type W = __m256i;
    type Acc = __m256i;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        // SAFETY: AVX2 is the caller's promise.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn load_a(row: *const i8, _stride: usize) -> Self::A {
        // SAFETY: the caller lets us read 4 elements; AVX2 is its promise.
        unsafe {
            let a = group(row);
            (a, _mm256_abs_epi8(a))
        }
    }

    #[inline(always)]
    unsafe fn load_w(panel: *const i8) -> Self::W {
        // SAFETY: the caller lets us read 32 elements; AVX2 is its promise.
        unsafe { _mm256_loadu_si256(panel.cast()) }
    }

    #[inline(always)]
    unsafe fn multiply(acc: Self::Acc, (a, magnitude): Self::A, w: Self::W) -> Self::Acc {
        // SAFETY: AVX2 is the caller's promise.
        unsafe {
            let pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(w, a));
            _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, sums: *mut [i32; PANEL_ROWS], _stride: usize) {
        // SAFETY: the caller lets us write 8 sums; AVX2 is its promise.
        unsafe { _mm256_storeu_si256(sums.cast(), acc) };
    }

    #[inline(always)]
    fn prefetch(panel: *const i8, ahead: usize) {
        prefetch(panel.cast(), ahead);
    }
}

impl Nibbles for Int8 {
    #[inline(always)]
    unsafe fn unpack(block: &I4Block, k: usize) -> Self::W {
        // SAFETY: AVX2 is the caller's promise.
        unsafe {
            let [low, high] = nibbles(block, k);
            if k.is_multiple_of(8) { low } else { high }
        }
    }

    #[inline(always)]
    unsafe fn add_steps(acc: Self::Acc, sums: Self::Acc, steps: &[u8; PANEL_ROWS]) -> Self::Acc {
        // SAFETY: AVX2 is the caller's promise.
        unsafe { add_steps(acc, sums, steps) }
    }
}

/// What becomes of the products of unsigned activations with weights, which `vpmaddubsw` has added in pairs.
trait Pairs {
    /// `acc + pairs`.
    ///
    /// # Safety
    /// The CPU must have AVX2.
    unsafe fn add(acc: __m256i, pairs: __m256i) -> __m256i;
}

/// They are widened: for int8 weights of [narrow pairs](crate::tensor::Matrix::has_narrow_pairs). An activation is at most
/// 255, so that a pair lies in [-255 * 128, 255 * 128], which 16 bits hold.
struct Widened;

impl Pairs for Widened {
    #[inline(always)]
    unsafe fn add(acc: __m256i, pairs: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))) }
    }
}

/// They stay in 16 bits until they meet the steps: for the values of an int4 block. Eight products of two activations of at
/// most 255 with values in [-8, 7] lie in [-32640, 28560].
struct BlockSums;

impl Pairs for BlockSums {
    #[inline(always)]
    unsafe fn add(acc: __m256i, pairs: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_add_epi16(acc, pairs) }
    }
}

/// Weights by activations that are stored with 128 added, as for VNNI: unsigned without an instruction.
struct Unsigned<P>(PhantomData<P>);

impl<P: Pairs> Tile for Unsigned<P> {
    type Input = i8;
    type Weight = i8;
    type Sum = i32;
    const DEPTH: usize = K_GROUP;
    const OFFSET: i32 = 128;
    type A = __m256i;
    type W = __m256i;
    type Acc = __m256i;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        // SAFETY: AVX2 is the caller's promise.
        unsafe { Int8::zero() }
    }

    #[inline(always)]
    unsafe fn load_a(row: *const i8, _stride: usize) -> Self::A {
        // SAFETY: the caller's promises.
        unsafe { group(row) }
    }

    #[inline(always)]
    unsafe fn load_w(panel: *const i8) -> Self::W {
        // SAFETY: the caller's promises.
        unsafe { Int8::load_w(panel) }
    }

    #[inline(always)]
    unsafe fn multiply(acc: Self::Acc, a: Self::A, w: Self::W) -> Self::Acc {
        // SAFETY: AVX2 is the caller's promise.
        unsafe { P::add(acc, _mm256_maddubs_epi16(a, w)) }
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, sums: *mut [i32; PANEL_ROWS], stride: usize) {
        // SAFETY: the caller's promises.
        unsafe { Int8::store(acc, sums, stride) };
    }

    #[inline(always)]
    fn prefetch(panel: *const i8, ahead: usize) {
        prefetch(panel.cast(), ahead);
    }
}

impl Nibbles for Unsigned<BlockSums> {
    #[inline(always)]
    unsafe fn unpack(block: &I4Block, k: usize) -> Self::W {
        const VALUES: [i8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1];
        // SAFETY: eight rows of four bytes are a register; AVX2 is the caller's promise.
        unsafe {
            let bytes = _mm256_loadu_si256(block.values[k / 8].as_ptr().cast());
            let bytes = if k.is_multiple_of(8) { bytes } else { _mm256_srli_epi16::<4>(bytes) };
            let values = _mm256_broadcastsi128_si256(_mm_loadu_si128(VALUES.as_ptr().cast()));
            _mm256_shuffle_epi8(values, _mm256_and_si256(bytes, _mm256_set1_epi8(0x0F)))
        }
    }

    #[inline(always)]
    unsafe fn add_steps(acc: Self::Acc, sums: Self::Acc, steps: &[u8; PANEL_ROWS]) -> Self::Acc {
        // SAFETY: eight steps are half a register; AVX2 is the caller's promise.
        unsafe {
            let steps = _mm256_cvtepu8_epi32(_mm_loadl_epi64(steps.as_ptr().cast()));
            let both = _mm256_or_si256(steps, _mm256_slli_epi32::<16>(steps));
            _mm256_add_epi32(acc, _mm256_madd_epi16(sums, both))
        }
    }
}

/// 16 times the values of the eight columns from `k` on: the first four of each row, and the last four.
///
/// # Safety
/// The CPU must have AVX2.
#[inline(always)]
pub(super) unsafe fn nibbles(block: &I4Block, k: usize) -> [__m256i; 2] {
    // SAFETY: eight rows of four bytes are a register; AVX2 is the caller's promise.
    unsafe {
        let bytes = _mm256_loadu_si256(block.values[k / 8].as_ptr().cast());
        let upper = _mm256_set1_epi8(0xF0_u8 as i8);
        [_mm256_and_si256(_mm256_slli_epi16::<4>(bytes), upper), _mm256_and_si256(bytes, upper)]
    }
}

/// `acc + sums / 16 * steps`.
///
/// # Safety
/// The CPU must have AVX2.
#[inline(always)]
pub(super) unsafe fn add_steps(acc: __m256i, sums: __m256i, steps: &[u8; PANEL_ROWS]) -> __m256i {
    // SAFETY: eight steps are half a register; AVX2 is the caller's promise.
    unsafe {
        let steps = _mm256_cvtepu8_epi32(_mm_loadl_epi64(steps.as_ptr().cast()));
        _mm256_add_epi32(acc, _mm256_mullo_epi32(_mm256_srai_epi32::<4>(sums), steps))
    }
}

/// Asks for the cache line `ahead` bytes behind an address; any will do.
#[inline(always)]
pub(super) fn prefetch(address: *const u8, ahead: usize) {
    // SAFETY: a prefetch reads nothing and never faults, and every x86-64 has it.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.wrapping_add(ahead).cast()) };
}

/// Asks for `N` bytes, less than a cache line of them excepted: asking for that too takes longer than waiting for some of it.
#[inline(always)]
pub(super) fn prefetch_bytes<const N: usize>(address: *const u8, ahead: usize) {
    const LINE: usize = 64;
    for line in 0..N / LINE {
        prefetch(address, ahead + line * LINE);
    }
}

/// f32 by f32 or f16: a multiplication and an addition, never fused.
struct Float<W>(PhantomData<W>);

/// Eight weights to f32.
trait Load: Copy + Default {
    /// # Safety
    /// Eight elements must be readable, and the CPU must have AVX and F16C.
    unsafe fn load(weights: *const Self) -> __m256;
}

impl Load for f32 {
    #[inline(always)]
    unsafe fn load(weights: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(weights) }
    }
}

impl Load for f16 {
    #[inline(always)]
    unsafe fn load(weights: *const f16) -> __m256 {
        // SAFETY: the caller's promise; `f16` is two bytes.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(weights.cast())) }
    }
}

impl<W: Load> Tile for Float<W> {
    type Input = f32;
    type Weight = W;
    type Sum = f32;
    const DEPTH: usize = 1;
    type A = __m256;
    type W = __m256;
    type Acc = __m256;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        // SAFETY: AVX is the caller's promise.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn load_a(row: *const f32, _stride: usize) -> Self::A {
        // SAFETY: the caller lets us read one element; AVX is its promise.
        unsafe { _mm256_set1_ps(*row) }
    }

    #[inline(always)]
    unsafe fn load_w(panel: *const W) -> Self::W {
        // SAFETY: the caller lets us read 8 elements; AVX and F16C are its promise.
        unsafe { W::load(panel) }
    }

    #[inline(always)]
    unsafe fn multiply(acc: Self::Acc, a: Self::A, w: Self::W) -> Self::Acc {
        // SAFETY: AVX is the caller's promise.
        unsafe { _mm256_add_ps(acc, _mm256_mul_ps(a, w)) }
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, sums: *mut [f32; PANEL_ROWS], _stride: usize) {
        // SAFETY: the caller lets us write 8 sums; AVX is its promise.
        unsafe { _mm256_storeu_ps(sums.cast(), acc) };
    }

    #[inline(always)]
    fn prefetch(panel: *const W, ahead: usize) {
        prefetch(panel.cast(), ahead);
    }
}

impl Lanes for Float<f32> {
    #[inline(always)]
    unsafe fn load_four(row: *const f32) -> Self::A {
        // SAFETY: the caller lets us read four elements; AVX is its promise.
        unsafe { _mm256_set_m128(_mm_loadu_ps(row), _mm_loadu_ps(row)) }
    }

    #[inline(always)]
    unsafe fn product(a: __m256, w: __m256) -> __m256 {
        // SAFETY: AVX is the caller's promise.
        unsafe { _mm256_mul_ps(a, w) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::Acc, b: Self::Acc) -> Self::Acc {
        // SAFETY: AVX is the caller's promise.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn combine(sums: [Self::Acc; 4]) -> Self::Acc {
        // SAFETY: AVX2 is the caller's promise.
        unsafe {
            let halves = |x, y| {
                let (x, y) = (_mm256_castps_pd(x), _mm256_castps_pd(y));
                let (low, high) = (_mm256_unpacklo_pd(x, y), _mm256_unpackhi_pd(x, y));
                _mm256_add_ps(_mm256_castpd_ps(low), _mm256_castpd_ps(high))
            };
            let (x, y) = (halves(sums[0], sums[1]), halves(sums[2], sums[3]));
            let sums = _mm256_add_ps(_mm256_shuffle_ps::<0x88>(x, y), _mm256_shuffle_ps::<0xDD>(x, y));
            // The sums 0, 2, 4, 6, 1, 3, 5, 7.
            _mm256_permutevar8x32_ps(sums, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
        }
    }
}
