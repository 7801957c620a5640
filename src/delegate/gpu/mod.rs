//! The delegate `gpu`: the whole encoder and the whole step of the decoder as compute kernels, through `wgpu`, or through
//! the WebGPU of a browser.
//!
//! ```text
//! native     what is asked of a GPU, by wgpu
//! browser    the same, by functions that JavaScript gives
//! driver     which of the two, and what both speak of
//! device     the GPU: its limits, its memory, what went wrong
//! kernels    WGSL and the constants it is compiled for: product, rows, attention, slots of hypotheses, SSRU
//! weights    the file's panels, uploaded as they lie
//! buffers    scratch and caches, resident
//! recorder   kernels put in a list with what they work on
//! network    encoder and step as such lists, made once
//! engine     a batch or a step: copy the embeddings there, submit the list once, copy the logits back
//! ```
//!
//! Numbers are those of the CPU but for the order in which floats are summed and for the precision of the GPU's `exp`,
//! `tanh` and `inverseSqrt`; products of int8 are exact. `docs/gpu.md` says how far that moves logits.

#[cfg(target_family = "wasm")]
mod browser;
mod buffers;
mod device;
mod driver;
mod engine;
mod kernels;
#[cfg(not(target_family = "wasm"))]
mod native;
mod network;
mod recorder;
mod weights;

pub use device::{AdapterKind, AdapterName, Gpu, PackedDot, adapters};
pub use kernels::Products;

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;

use super::{Delegate, Engine, Probe};
use crate::error::Result;
use crate::model::{Model, SessionShape};
use engine::GpuEngine;

/// Runs models on a GPU.
#[derive(Default)]
pub struct GpuDelegate {
    /// The GPU; without one the best of this machine is opened for each engine.
    gpu: Option<Arc<Gpu>>,
}

impl GpuDelegate {
    /// The delegate for a GPU that is open.
    pub fn on(gpu: Arc<Gpu>) -> Self {
        Self { gpu: Some(gpu) }
    }
}

impl Delegate for GpuDelegate {
    fn name(&self) -> &str {
        "gpu"
    }

    fn probe(&self) -> Result<Probe> {
        let devices: alloc::vec::Vec<_> = adapters().iter().map(ToString::to_string).collect();
        if devices.is_empty() {
            return Err(device::no_adapter());
        }
        Ok(Probe { version: driver::VERSION.into(), devices })
    }

    fn build(&self, model: &Arc<Model>, shape: &SessionShape) -> Result<Box<dyn Engine>> {
        let gpu = match &self.gpu {
            Some(gpu) => Arc::clone(gpu),
            None => Arc::new(Gpu::open()?),
        };
        Ok(Box::new(GpuEngine::new(gpu, model, shape)?))
    }
}
