//! x86-64: AVX2, the two forms of VNNI, and AMX.

mod amx;
mod avx2;
mod vnni;
mod vnni512;

pub(in crate::kernels) use amx::{AVX512_AMX, is_available as has_amx};
pub(in crate::kernels) use avx2::{AVX2, AVX2_NARROW};
pub(in crate::kernels) use vnni::{AVX_VNNI, AVX512_VNNI};
