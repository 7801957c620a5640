//! aarch64: NEON, `sdot` and `smmla`.
//!
//! Half-precision arithmetic (`fp16`) is used where it is asked for: sums in 16 bits are not the sums of other CPUs. The
//! conversion of `f16` weights to `f32` is part of the baseline.

mod dotprod;
mod half;
mod i8mm;
mod neon;

pub(in crate::kernels) use dotprod::NEON_DOTPROD;
pub(in crate::kernels) use half::{NEON_DOTPROD_HALF, NEON_I8MM_HALF};
pub(in crate::kernels) use i8mm::NEON_I8MM;
pub(in crate::kernels) use neon::NEON;
