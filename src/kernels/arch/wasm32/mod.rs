//! wasm32: simd128, where the crate is compiled with it (`-C target-feature=+simd128`).
//!
//! A module that contains vector instructions is refused by an engine without them, so there is nothing to detect.

mod simd128;

pub(in crate::kernels) use simd128::WASM_SIMD128;
