//! x86-64: AVX2, and the two forms of VNNI.

mod avx2;
mod vnni;

pub(in crate::kernels) use avx2::{AVX2, AVX2_NARROW};
pub(in crate::kernels) use vnni::{AVX_VNNI, AVX512_VNNI};
