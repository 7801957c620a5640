//! Products by AMX: tile registers that hold matrices, and an instruction that multiplies them.
//!
//! A panel's weights lie as the instruction wants its right operand: four k of each of 8 outputs in a row of 32 bytes. The
//! left one is 16 rows of activations, 64 k of each. A few rows of activations have nothing to gain, and are left to VNNI.

#![allow(unsafe_code)]

use core::arch::asm;
use core::arch::x86_64::*;

use super::avx2;
use super::vnni::{AVX_VNNI, AVX512_VNNI};
use super::vnni512;
use crate::kernels::Isa;
use crate::kernels::gemm::{Lines, MatrixTile, Product, gemm_by_matrices};
use crate::kernels::table::{Gemm, GemmKernels, Kernels, gemm_kernel, with_features};
use crate::tensor::{ColumnsMut, I4_COLUMNS, I4Block, K_GROUP, PANEL_ROWS};

/// Rows of activations from which on they are worth it.
const FEWEST_ROWS: usize = 5;
/// Panels that are multiplied by the same activations.
const PANELS: usize = 4;
/// Columns of a step, and the int4 blocks that have as many.
const DEPTH: usize = 16 * K_GROUP;
const BLOCKS: usize = DEPTH / I4_COLUMNS;

pub(in crate::kernels) static AVX512_AMX: Kernels = Kernels {
    isa: Isa::Avx512Amx,
    rows: AVX512_VNNI.rows,
    gemm: GemmKernels {
        i8: Gemm { run: int8, isa: Isa::Avx512Amx, tile: TILE, offset: Int8::OFFSET },
        i4: Gemm { run: int4, isa: Isa::Avx512Amx, tile: TILE, offset: Int4::OFFSET },
        ..AVX512_VNNI.gemm
    },
};

const FEW_ROWS: GemmKernels = GemmKernels {
    i8: gemm_kernel!(
        Isa::Avx512Amx, target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni");
        vnni512::Int8 [4, 4, 1]
    ),
    i4: gemm_kernel!(
        Isa::Avx512Amx, target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,avx512vnni,gfni");
        vnni512::Int4 [4, 4, 4]
    ),
    ..AVX512_VNNI.gemm
};

const TILE: (usize, usize) = (Int8::ROWS, PANELS * PANEL_ROWS);

fn int8(product: &Product<'_, i8, i8>, out: ColumnsMut<'_>) {
    match out.rows() {
        FEWEST_ROWS.. => int8_rows(product, out),
        // One row is read panel by panel, in the order of memory: that is faster than wider registers.
        ..2 => (AVX_VNNI.gemm.i8.run)(product, out),
        _ => (FEW_ROWS.i8.run)(product, out),
    }
}

fn int4(product: &Product<'_, [i8; I4_COLUMNS], I4Block>, out: ColumnsMut<'_>) {
    if out.rows() >= FEWEST_ROWS { int4_rows(product, out) } else { (FEW_ROWS.i4.run)(product, out) }
}

with_features! { target_feature(enable = "avx2,avx512f,avx512bw,avx512vl,gfni");
    fn int8_rows(product: &Product<'_, i8, i8>, out: ColumnsMut<'_>) = gemm_by_matrices::<Int8, DEPTH, PANELS>;
    fn int4_rows(product: &Product<'_, [i8; I4_COLUMNS], I4Block>, out: ColumnsMut<'_>)
        = gemm_by_matrices::<Int4, BLOCKS, PANELS>;
}

/// Whether this CPU has AMX for bytes and the kernel lets this process use it: Linux wants to be asked, as its tiles are 8 KB
/// more to save where a thread has them in use.
#[cfg(all(feature = "std", target_os = "linux"))]
pub(in crate::kernels) fn is_available() -> bool {
    const TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
    const ARCH_PRCTL: core::ffi::c_long = 158;
    const ARCH_REQ_XCOMP_PERM: core::ffi::c_long = 0x1023;
    const XFEATURE_XTILEDATA: core::ffi::c_long = 18;
    unsafe extern "C" {
        fn syscall(number: core::ffi::c_long, ...) -> core::ffi::c_long;
    }
    let features = __cpuid_count(7, 0).edx;
    // SAFETY: a call with two numbers. It fails where there is no such feature or state.
    features & TILE_AND_INT8 == TILE_AND_INT8
        && unsafe { syscall(ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) } == 0
}

#[cfg(not(all(feature = "std", target_os = "linux")))]
pub(in crate::kernels) fn is_available() -> bool {
    false
}

/// int8 by int8. Registers 0 to 3 are sums with one panel each, 4 is activations and 5 weights.
struct Int8;

/// What `ldtilecfg` reads (Intel SDM, volume 1, table 18-2).
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Bytes of a row of each register.
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// `instruction!` of the register with the sums of a panel: assembly names registers by literals.
macro_rules! with_sums {
    ($panel:expr, $instruction:ident) => {
        match $panel {
            0 => $instruction!("tmm0"),
            1 => $instruction!("tmm1"),
            2 => $instruction!("tmm2"),
            _ => $instruction!("tmm3"),
        }
    };
}

impl MatrixTile<DEPTH> for Int8 {
    type Input = i8;
    type Weight = i8;
    type Sum = i32;
    /// Where they are.
    type Operand = *const i8;
    const ROWS: usize = 16;
    const PANEL_WIDTH: usize = PANEL_ROWS;
    const OFFSET: i32 = 128;
    const IS_BUILT: bool = true;

    #[inline(always)]
    unsafe fn begin(rows: usize) {
        const ROW: u16 = (K_GROUP * PANEL_ROWS) as u16;
        let mut config =
            Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        config.row_bytes[..6].copy_from_slice(&[ROW, ROW, ROW, ROW, DEPTH as u16, ROW]);
        config.rows[..6].copy_from_slice(&[rows as u8; 6]);
        config.rows[5] = (DEPTH / K_GROUP) as u8;
        // SAFETY: the configuration is valid for up to 16 rows; AMX is the caller's promise.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, preserves_flags, readonly)) };
    }

    #[inline(always)]
    unsafe fn end() {
        // SAFETY: AMX is the caller's promise.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) };
    }

    #[inline(always)]
    unsafe fn zero(panel: usize) {
        macro_rules! zero {
            ($sums:literal) => {
                asm!(concat!("tilezero ", $sums), options(nostack, preserves_flags, nomem))
            };
        }
        // SAFETY: AMX, configured, is the caller's promise.
        unsafe { with_sums!(panel, zero) };
    }

    #[inline(always)]
    unsafe fn load_a(rows: *const i8, stride: usize) {
        // SAFETY: the caller lets us read 64 activations of each row; AMX, configured, is its promise.
        unsafe {
            asm!("tileloadd tmm4, [{} + {}]", in(reg) rows, in(reg) stride,
                options(nostack, preserves_flags, readonly));
        }
    }

    #[inline(always)]
    unsafe fn operand(weights: *const i8) -> Self::Operand {
        weights
    }

    #[inline(always)]
    unsafe fn multiply(panel: usize, &weights: &Self::Operand) {
        macro_rules! multiply {
            ($sums:literal) => {
                asm!(
                    "tileloadd tmm5, [{} + {}]",
                    concat!("tdpbusd ", $sums, ", tmm4, tmm5"),
                    in(reg) weights, in(reg) K_GROUP * PANEL_ROWS,
                    options(nostack, preserves_flags, readonly)
                )
            };
        }
        // SAFETY: the caller lets us read 512 weights; AMX, configured, is its promise.
        unsafe { with_sums!(panel, multiply) };
    }

    #[inline(always)]
    fn prefetch(weights: *const i8, ahead: usize) {
        avx2::prefetch_bytes::<{ DEPTH * PANEL_ROWS }>(weights.cast(), ahead);
    }

    #[inline(always)]
    unsafe fn store(panel: usize, sums: *mut [i32; PANEL_ROWS], stride: usize) {
        macro_rules! store {
            ($sums:literal) => {
                asm!(concat!("tilestored [{} + {}], ", $sums), in(reg) sums, in(reg) stride * size_of::<[i32; PANEL_ROWS]>(),
                    options(nostack, preserves_flags))
            };
        }
        // SAFETY: the caller lets us write the sums; AMX, configured, is its promise.
        unsafe { with_sums!(panel, store) };
    }
}

/// int4 by int8: a panel's weights become int8, `value * step`, before they are multiplied.
struct Int4;

impl MatrixTile<BLOCKS> for Int4 {
    type Input = [i8; I4_COLUMNS];
    type Weight = I4Block;
    type Sum = i32;
    /// Two blocks as int8.
    type Operand = Lines<[[__m512i; I4_COLUMNS / 8]; BLOCKS]>;
    const ROWS: usize = Int8::ROWS;
    const PANEL_WIDTH: usize = 1;
    const OFFSET: i32 = Int8::OFFSET;
    const IS_BUILT: bool = cfg!(feature = "int4");

    #[inline(always)]
    unsafe fn begin(rows: usize) {
        // SAFETY: the caller's promise.
        unsafe { Int8::begin(rows) };
    }

    #[inline(always)]
    unsafe fn end() {
        // SAFETY: the caller's promise.
        unsafe { Int8::end() };
    }

    #[inline(always)]
    unsafe fn zero(panel: usize) {
        // SAFETY: the caller's promise.
        unsafe { Int8::zero(panel) };
    }

    #[inline(always)]
    unsafe fn load_a(rows: *const Self::Input, stride: usize) {
        // SAFETY: the caller's promise.
        unsafe { Int8::load_a(rows.cast(), stride * I4_COLUMNS) };
    }

    #[inline(always)]
    unsafe fn operand(blocks: *const I4Block) -> Self::Operand {
        // SAFETY: the caller lets us read two blocks. The instruction set is its promise.
        unsafe { Lines([unpack(&*blocks), unpack(&*blocks.add(1))]) }
    }

    #[inline(always)]
    unsafe fn multiply(panel: usize, operand: &Self::Operand) {
        // SAFETY: two blocks are 512 weights. The instruction set is the caller's promise.
        unsafe { Int8::multiply(panel, &operand.0.as_ptr().cast()) };
    }

    #[inline(always)]
    fn prefetch(blocks: *const I4Block, ahead: usize) {
        avx2::prefetch_bytes::<{ BLOCKS * size_of::<I4Block>() }>(blocks.cast(), ahead);
    }

    #[inline(always)]
    unsafe fn store(panel: usize, sums: *mut [i32; PANEL_ROWS], stride: usize) {
        // SAFETY: the caller's promise.
        unsafe { Int8::store(panel, sums, stride) };
    }
}

/// The int8 weights of a block, as they lie in a panel: eight columns of all rows in a register, first four of each row and
/// then the others.
///
/// With `t = value + 8`, which is not negative, `value * step` is `t * (step - 1) + t - 8 * step`. The product is at most
/// 15 * 17 = 255: one multiplication of 16 bits has those of two bytes, and the rest may leave out what is beyond 8 bits.
///
/// # Safety
/// The CPU must have AVX-512 F and BW, and GFNI.
#[inline(always)]
unsafe fn unpack(block: &I4Block) -> [__m512i; I4_COLUMNS / 8] {
    // SAFETY: 8 rows of four bytes are half a register; AVX-512 and GFNI are the caller's promise.
    unsafe {
        let rows = _mm256_setr_epi64x(
            0x0101_0101_0000_0000,
            0x0303_0303_0202_0202,
            0x0505_0505_0404_0404,
            0x0707_0707_0606_0606,
        );
        let steps = _mm512_set1_epi64(i64::from_le_bytes(block.steps));
        let steps = _mm512_shuffle_epi8(steps, _mm512_broadcast_i64x4(rows));
        let less_one = _mm512_sub_epi8(steps, _mm512_set1_epi8(1));
        let less_one = _mm512_and_si512(less_one, _mm512_set1_epi16(0x00FF));
        let eight_times = _mm512_slli_epi16::<3>(steps);
        // Bits 0 to 3 in the lower half, and 4 to 7 in the upper one; none of the sign.
        const UNSIGNED: i64 = !0xFFFF_FFFF;
        let lower = _mm512_set1_epi64(vnni512::LOWER & UNSIGNED);
        let halves = _mm512_inserti64x4::<1>(lower, _mm256_set1_epi64x(vnni512::UPPER & UNSIGNED));
        let mut weights = [_mm512_setzero_si512(); I4_COLUMNS / 8];
        for (weights, values) in weights.iter_mut().zip(&block.values) {
            let bytes = _mm512_broadcast_i64x4(_mm256_loadu_si256(values.as_ptr().cast()));
            let t = _mm512_gf2p8affine_epi64_epi8::<8>(bytes, halves);
            let products = _mm512_mullo_epi16(t, less_one);
            *weights = _mm512_sub_epi8(_mm512_add_epi8(products, t), eight_times);
        }
        weights
    }
}
