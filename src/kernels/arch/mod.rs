//! What each instruction set supplies: the tiles of the matrix products, and its table.

#[cfg(target_arch = "aarch64")]
pub(super) mod aarch64;
pub(super) mod portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(super) mod wasm32;
#[cfg(target_arch = "x86_64")]
pub(super) mod x86_64;
