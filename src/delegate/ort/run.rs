//! Runs of graphs, and where stays what comes out of them.

use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{Session, SessionInputValue};
use ort::value::DynTensor;
use std::fmt::Display;

use super::provider::Memory;
use crate::delegate::failed;
use crate::error::{Error, Result};

/// Inputs or outputs of a graph, by name.
pub type Values = Vec<(String, DynTensor)>;

/// The output that the host reads.
pub const LOGITS: &str = "logits";

impl Memory {
    /// Runs `graph`. All that it gives but logits stays in the provider's memory, where that is known.
    ///
    /// # Errors
    /// [`Delegate`](crate::ErrorKind::Delegate) with what ONNX Runtime answers.
    pub fn run<'a>(
        self,
        graph: &mut Session,
        inputs: impl Iterator<Item = &'a (String, DynTensor)>,
    ) -> Result<Values> {
        let outputs = match self {
            Self::Host | Self::Hidden => run(graph, inputs),
            Self::Device(name) => run_on_device(graph, name, inputs),
        };
        outputs.map_err(|error| answered("running a graph", &error))
    }

    /// Bytes of what one run gives to the next, where they are copied between the host and the provider.
    pub fn copied(self, value: &DynTensor) -> u64 {
        let stays = match self {
            Self::Host => true,
            Self::Device(name) => value.memory_info().allocation_device().as_str() == name,
            Self::Hidden => false,
        };
        if stays { 0 } else { bytes(value) }
    }
}

fn run<'a>(
    graph: &mut Session,
    inputs: impl Iterator<Item = &'a (String, DynTensor)>,
) -> ort::Result<Values> {
    let inputs = inputs.map(|(name, value)| (name.as_str(), SessionInputValue::from(value)));
    let outputs = graph.run(inputs.collect::<Vec<_>>())?;
    outputs.into_iter().map(|(name, value)| Ok((name.to_owned(), value.downcast()?))).collect()
}

fn run_on_device<'a>(
    graph: &mut Session,
    device: &str,
    inputs: impl Iterator<Item = &'a (String, DynTensor)>,
) -> ort::Result<Values> {
    let memory = |device| MemoryInfo::new(device, 0, AllocatorType::Device, MemoryType::Default);
    let (device, host) = (memory(AllocationDevice::new(device))?, memory(AllocationDevice::CPU)?);
    let mut binding = graph.create_binding()?;
    for (name, value) in inputs {
        binding.bind_input(name, value)?;
    }
    for output in graph.outputs() {
        let place = if output.name() == LOGITS { &host } else { &device };
        binding.bind_output_to_device(output.name(), place)?;
    }
    let outputs = graph.run_binding(&binding)?;
    let owned = outputs.into_iter().map(|(name, value)| Ok((name.to_owned(), value.downcast()?)));
    owned.collect()
}

/// Bytes of a tensor.
pub fn bytes(value: &DynTensor) -> u64 {
    value.size().unwrap_or(0) as u64
}

pub fn answered(doing: &str, error: &dyn Display) -> Error {
    failed(format!("{doing}: ONNX Runtime answered: {error}"))
}
