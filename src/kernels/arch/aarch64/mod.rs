//! aarch64: NEON, `sdot` and `smmla`.
//!
//! Half-precision arithmetic (`fp16`) is not used: sums in 16 bits would not be the sums of other CPUs. The conversion
//! of `f16` weights to `f32` is part of the baseline.

mod dotprod;
mod i8mm;
mod neon;

pub(in crate::kernels) use dotprod::NEON_DOTPROD;
pub(in crate::kernels) use i8mm::NEON_I8MM;
pub(in crate::kernels) use neon::NEON;
