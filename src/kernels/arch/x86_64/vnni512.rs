//! Tiles for VNNI on 512-bit registers, for CPUs that multiply as many of them in a cycle as of 256 bits.
//!
//! A register holds the weights of two panels for the same columns: sixteen rows by four. The activations are stored with
//! 128 added, as for 256 bits.

#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::avx2;
use crate::kernels::gemm::{Operands, Tile, step_by_panels, unroll};
use crate::tensor::{I4_COLUMNS, I4Block, K_GROUP, PANEL_ROWS};

/// int8 by int8.
pub(super) struct Int8;

impl Tile for Int8 {
    type Input = i8;
    type Weight = i8;
    type Sum = i32;
    const PANELS: usize = 2;
    /// A cache line of each panel.
    const DEPTH: usize = 2 * K_GROUP;
    const OFFSET: i32 = 128;
    type A = [__m512i; 2];
    type W = [__m512i; 2];
    type Acc = __m512i;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        // SAFETY: AVX-512 is the caller's promise.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn load_a(row: *const i8, _stride: usize) -> Self::A {
        // SAFETY: the caller lets us read 8 elements; AVX-512 is its promise.
        unsafe { [group(row), group(row.add(K_GROUP))] }
    }

    #[inline(always)]
    unsafe fn load_w(panel: *const i8) -> Self::W {
        // SAFETY: the caller's promises.
        unsafe { Self::load_panels(panel, 0) }
    }

    #[inline(always)]
    unsafe fn load_panels(panel: *const i8, stride: usize) -> Self::W {
        const HALF: usize = K_GROUP * PANEL_ROWS;
        // SAFETY: the caller lets us read 64 elements of each panel; AVX-512 is its promise.
        unsafe {
            let second = panel.add(stride);
            [both(panel.cast(), second.cast()), both(panel.add(HALF).cast(), second.add(HALF).cast())]
        }
    }

    #[inline(always)]
    unsafe fn multiply(acc: Self::Acc, a: Self::A, w: Self::W) -> Self::Acc {
        // SAFETY: AVX-512-VNNI is the caller's promise.
        unsafe { _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(acc, a[0], w[0]), a[1], w[1]) }
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, sums: *mut [i32; PANEL_ROWS], _stride: usize) {
        // SAFETY: the caller lets us write 16 sums; AVX-512 is its promise.
        unsafe { _mm512_storeu_si512(sums.cast(), acc) };
    }

    #[inline(always)]
    fn prefetch(panel: *const i8, ahead: usize) {
        avx2::prefetch(panel.cast(), ahead);
    }
}

/// int4 by int8, a block of each panel at a time.
pub(super) struct Int4;

impl Tile for Int4 {
    type Input = [i8; I4_COLUMNS];
    type Weight = I4Block;
    type Sum = i32;
    const PANELS: usize = 2;
    const DEPTH: usize = 1;
    const OFFSET: i32 = Int8::OFFSET;
    const PANEL_WIDTH: usize = 1;
    const IS_BUILT: bool = cfg!(feature = "int4");
    type A = *const i8;
    type W = [*const I4Block; 2];
    type Acc = __m512i;

    #[inline(always)]
    unsafe fn zero() -> Self::Acc {
        // SAFETY: the caller's promise.
        unsafe { Int8::zero() }
    }

    #[inline(always)]
    unsafe fn load_a(row: *const Self::Input, _stride: usize) -> Self::A {
        row.cast()
    }

    #[inline(always)]
    unsafe fn load_w(block: *const I4Block) -> Self::W {
        [block; 2]
    }

    #[inline(always)]
    unsafe fn load_panels(block: *const I4Block, stride: usize) -> Self::W {
        // SAFETY: the caller's promise.
        [block, unsafe { block.add(stride) }]
    }

    /// The products of 16 columns are summed before they meet the steps: in [-32640, 28560], they fit 16 bits.
    #[inline(always)]
    unsafe fn multiply(mut acc: Self::Acc, row: *const i8, blocks: Self::W) -> Self::Acc {
        // SAFETY: the caller lets us read two blocks and the activations for one; AVX-512-VNNI and GFNI are its promise.
        unsafe {
            let blocks = blocks.map(|block| &*block);
            let steps = steps(blocks);
            for half in 0..2 {
                let mut sums = Int8::zero();
                for i in 2 * half..2 * half + 2 {
                    let bytes = values(blocks, i);
                    let values = [nibbles::<LOWER>(bytes), nibbles::<UPPER>(bytes)];
                    for (j, values) in values.into_iter().enumerate() {
                        sums = _mm512_dpbusd_epi32(sums, group(row.add((2 * i + j) * K_GROUP)), values);
                    }
                }
                acc = _mm512_dpwssd_epi32(acc, sums, steps);
            }
            acc
        }
    }

    /// Two pairs of panels at once, which share each load of activations.
    #[inline(always)]
    unsafe fn step<const R: usize, const P: usize>(
        acc: &mut [[Self::Acc; P]; R],
        operands: &Operands<Self::Input, I4Block>,
        (i, k): (usize, usize),
    ) {
        // SAFETY: the caller's promises.
        unsafe {
            if P != 4 {
                return step_by_panels::<Self, R, P>(acc, operands, (i, k));
            }
            unroll!(p < P, {
                operands.ask::<Self>(p, i);
            });
            let block = |p| &*operands.lane::<Self>(p, k);
            let pairs = [[block(0), block(1)], [block(2), block(3)]];
            let steps = [steps(pairs[0]), steps(pairs[1])];
            unroll!(half < 2, {
                let mut sums = [[Int8::zero(); 2]; R];
                unroll!(group < 4, {
                    let place = 2 * half + group / 2;
                    let bytes = [values(pairs[0], place), values(pairs[1], place)];
                    let values = if group % 2 == 0 {
                        [nibbles::<LOWER>(bytes[0]), nibbles::<LOWER>(bytes[1])]
                    } else {
                        [nibbles::<UPPER>(bytes[0]), nibbles::<UPPER>(bytes[1])]
                    };
                    unroll!(r < R, {
                        let row = operands.row(r, 0, k).cast::<i8>();
                        let a = self::group(row.add((4 * half + group) * K_GROUP));
                        sums[r][0] = _mm512_dpbusd_epi32(sums[r][0], a, values[0]);
                        sums[r][1] = _mm512_dpbusd_epi32(sums[r][1], a, values[1]);
                    });
                });
                unroll!(r < R, {
                    acc[r][0] = _mm512_dpwssd_epi32(acc[r][0], sums[r][0], steps[0]);
                    acc[r][2] = _mm512_dpwssd_epi32(acc[r][2], sums[r][1], steps[1]);
                });
            });
        }
    }

    #[inline(always)]
    unsafe fn store(acc: Self::Acc, sums: *mut [i32; PANEL_ROWS], stride: usize) {
        // SAFETY: the caller's promises.
        unsafe { Int8::store(acc, sums, stride) };
    }

    #[inline(always)]
    fn prefetch(block: *const I4Block, ahead: usize) {
        avx2::prefetch_bytes::<{ size_of::<I4Block>() }>(block.cast(), ahead);
    }
}

/// Four elements, repeated over a register.
///
/// # Safety
/// They must be readable, and the CPU must have AVX-512 F.
#[inline(always)]
unsafe fn group(elements: *const i8) -> __m512i {
    // SAFETY: the caller's promises.
    unsafe { _mm512_set1_epi32(elements.cast::<i32>().read_unaligned()) }
}

/// The steps of the rows of two blocks.
///
/// # Safety
/// The CPU must have AVX-512 F.
#[inline(always)]
unsafe fn steps([first, second]: [&I4Block; 2]) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let steps = _mm_set_epi64x(i64::from_le_bytes(second.steps), i64::from_le_bytes(first.steps));
        _mm512_cvtepu8_epi32(steps)
    }
}

/// The values of two blocks at `place`: four columns of each row in the lower halves of bytes, and the next four in the upper.
///
/// # Safety
/// The CPU must have AVX-512 F.
#[inline(always)]
unsafe fn values([first, second]: [&I4Block; 2], place: usize) -> __m512i {
    // SAFETY: eight rows of four bytes are half a register; AVX-512 is the caller's promise.
    unsafe { both(first.values[place].as_ptr().cast(), second.values[place].as_ptr().cast()) }
}

/// Two halves of a register.
///
/// # Safety
/// 32 bytes of each must be readable, and the CPU must have AVX-512 F.
#[inline(always)]
unsafe fn both(lower: *const __m256i, upper: *const __m256i) -> __m512i {
    // SAFETY: the caller's promises.
    unsafe {
        let lower = _mm512_castsi256_si512(_mm256_loadu_si256(lower));
        _mm512_inserti64x4::<1>(lower, _mm256_loadu_si256(upper))
    }
}

/// Bits 0 to 3, and 4 to 7, as matrices whose rows say what the bits of a result are, the highest first: for the four
/// highest that of the sign.
pub(super) const LOWER: i64 = 0x0102_0408_0808_0808;
pub(super) const UPPER: i64 = 0x1020_4080_8080_8080_u64 as i64;

/// The values of a half of each byte.
///
/// # Safety
/// The CPU must have AVX-512 F and GFNI.
#[inline(always)]
unsafe fn nibbles<const HALF: i64>(bytes: __m512i) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_gf2p8affine_epi64_epi8::<0>(bytes, _mm512_set1_epi64(HALF)) }
}
