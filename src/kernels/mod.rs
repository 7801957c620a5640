//! Arithmetic on slices: matrix products, softmax, norms, activations, attention.
//!
//! A kernel knows shapes, never names or files. [`Kernels`] is the table of functions of one instruction set, chosen
//! once by [`Kernels::detect`]. All tables give the same bits: `docs/numerics.md` says how that is kept, and
//! `docs/kernels.md` how the parts fit together and how an instruction set is added.
//!
//! ```
//! use siskin::kernels::Kernels;
//!
//! let kernels = Kernels::detect()?;
//! let mut x = [1.0, 2.0, 3.0];
//! kernels.softmax(&mut x);
//! assert!((x.iter().sum::<f32>() - 1.0).abs() < 1e-6);
//! # Ok::<(), siskin::Error>(())
//! ```

mod activation;
mod arch;
mod attention;
#[cfg(test)]
mod conformance;
mod gemm;
mod isa;
mod lanes;
pub mod math;
mod norm;
mod quantize;
#[cfg(test)]
mod reference;
mod softmax;
mod table;

pub use activation::Activation;
pub use attention::{Attention, RowIndex, Rows};
pub use gemm::{Activations, Epilogue, Residual};
pub use isa::Isa;
pub use lanes::LANES;
pub use table::{KernelName, Kernels};
