//! The execution providers.

use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProvider, ExecutionProviderDispatch};

use crate::delegate::Setting;

/// An execution provider of ONNX Runtime.
pub struct Provider {
    /// How it is called behind `ort:`.
    pub name: &'static str,
    /// How ONNX Runtime calls it.
    pub onnx_name: &'static str,
    /// Where it computes.
    pub memory: Memory,
    make: Make,
    available: fn() -> ort::Result<bool>,
}

/// Where a provider computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// In the host's memory: caches stay where they are.
    Host,
    /// In memory that ONNX Runtime calls by this name: caches stay there.
    Device(&'static str),
    /// Perhaps elsewhere, in memory that it hands to nobody: everything that goes into a step is taken to be copied.
    Hidden,
}

enum Make {
    /// It is there without being asked for.
    Default,
    Plain(fn() -> ExecutionProviderDispatch),
    Configured(fn(&[Setting]) -> ExecutionProviderDispatch),
}

/// Every provider that can be named.
pub static PROVIDERS: &[Provider] = &[
    Provider::new::<ep::CPU>("cpu", Memory::Host, Make::Default),
    Provider::new::<ep::XNNPACK>("xnnpack", Memory::Host, Make::Configured(configured::<ep::XNNPACK>)),
    Provider::new::<ep::OpenVINO>("openvino", Memory::Hidden, Make::Configured(configured::<ep::OpenVINO>)),
    Provider::new::<ep::CoreML>("coreml", Memory::Hidden, Make::Configured(configured::<ep::CoreML>)),
    Provider::new::<ep::NNAPI>("nnapi", Memory::Hidden, Make::Plain(plain::<ep::NNAPI>)),
    Provider::new::<ep::QNN>("qnn", Memory::Hidden, Make::Configured(configured::<ep::QNN>)),
    Provider::new::<ep::CUDA>("cuda", Memory::Device("Cuda"), Make::Configured(configured::<ep::CUDA>)),
    Provider::new::<ep::TensorRT>(
        "tensorrt",
        Memory::Device("Cuda"),
        Make::Configured(configured::<ep::TensorRT>),
    ),
    Provider::new::<ep::WebGPU>(
        "webgpu",
        Memory::Device("WebGPU_Buf"),
        Make::Configured(configured::<ep::WebGPU>),
    ),
    Provider::new::<ep::DirectML>("directml", Memory::Device("DML"), Make::Plain(plain::<ep::DirectML>)),
];

impl Provider {
    const fn new<P: ExecutionProvider>(name: &'static str, memory: Memory, make: Make) -> Self {
        Self { name, onnx_name: P::NAME, memory, make, available: P::is_available }
    }

    /// Whether it can be told anything.
    pub fn takes_options(&self) -> bool {
        matches!(self.make, Make::Configured(_))
    }

    /// Whether the library that is loaded was built with it.
    pub fn is_in_library(&self) -> bool {
        (self.available)().unwrap_or(false)
    }

    /// What a session is given to use it, an error where it cannot; `None` for the one that is always used.
    pub fn dispatch(&self, options: &[Setting]) -> Option<ExecutionProviderDispatch> {
        match self.make {
            Make::Default => None,
            Make::Plain(make) => Some(make().error_on_failure()),
            Make::Configured(make) => Some(make(options).error_on_failure()),
        }
    }
}

fn plain<P: Default + Into<ExecutionProviderDispatch>>() -> ExecutionProviderDispatch {
    P::default().into()
}

fn configured<P>(options: &[Setting]) -> ExecutionProviderDispatch
where
    P: Default + ArbitrarilyConfigurableExecutionProvider + Into<ExecutionProviderDispatch>,
{
    let provider = P::default();
    options.iter().fold(provider, |provider, (key, value)| provider.with_arbitrary_config(key, value)).into()
}
