//! The GPU: which one, its limits, its memory, and what went wrong on it.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::sync::Mutex;

use wgpu::{BufferUsages, DeviceType};

use super::kernels::{Compiled, Products};
use crate::delegate::failed;
use crate::error::{Error, ErrorKind, Result};

/// An adapter that this machine offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterName {
    /// The device's name.
    pub name: String,
    /// The graphics interface and its driver.
    pub driver: String,
    /// Whether the CPU plays the GPU: right numbers, no speed.
    pub kind: AdapterKind,
}

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdapterKind {
    /// A GPU.
    Hardware,
    /// A software rasterizer.
    Software,
}

impl core::fmt::Display for AdapterName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mark = if self.kind == AdapterKind::Software { ", a software rasterizer" } else { "" };
        write!(f, "{} ({}{mark})", self.name, self.driver)
    }
}

/// An open GPU.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    queue: wgpu::Queue,
    name: AdapterName,
    pub(super) dot: PackedDot,
    pub(super) products: Products,
    pub(super) kernels: Compiled,
    /// The most bytes of a buffer that a kernel can see.
    largest: u64,
    /// What the driver said when it first failed.
    failure: Arc<Mutex<Option<String>>>,
}

/// How four products of int8 are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackedDot {
    /// By WGSL's `dot4I8Packed`.
    Builtin,
    /// By shifts and a dot product of vectors, where that is missing.
    Unpacked,
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle())
}

/// The adapters of this machine, the best first: GPUs before software rasterizers.
pub fn adapters() -> Vec<AdapterName> {
    enumerate(&instance()).iter().map(name_of).collect()
}

fn enumerate(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    let mut adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu | DeviceType::Other => 2,
        DeviceType::Cpu => 3,
    });
    adapters
}

fn name_of(adapter: &wgpu::Adapter) -> AdapterName {
    let info = adapter.get_info();
    let software = info.device_type == DeviceType::Cpu;
    AdapterName {
        driver: format!("{:?}, {} {}", info.backend, info.driver, info.driver_info),
        kind: if software { AdapterKind::Software } else { AdapterKind::Hardware },
        name: info.name,
    }
}

impl Gpu {
    /// Opens the best adapter, with all that its limits allow.
    ///
    /// # Errors
    /// [`ErrorKind::Delegate`] if there is none, or it gives no device.
    pub fn open() -> Result<Self> {
        let instance = instance();
        let adapter = enumerate(&instance).into_iter().next().ok_or_else(no_adapter)?;
        let name = name_of(&adapter);
        let limits = adapter.limits();
        let largest = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|error| failed(format!("{name} gives no device: {error}")))?;
        let packed = wgpu::WgslLanguageFeatures::Packed4x8IntegerDotProduct;
        let builtin = instance.wgsl_language_features().contains(packed);
        let failure = Arc::new(Mutex::new(None));
        let (on_error, on_loss) = (Arc::clone(&failure), Arc::clone(&failure));
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| note(&on_error, error.to_string())));
        device.set_device_lost_callback(move |reason, message| {
            note(&on_loss, format!("the device was lost ({reason:?}): {message}"));
        });
        let dot = if builtin { PackedDot::Builtin } else { PackedDot::Unpacked };
        let (products, kernels) = (Products::Tiled, Compiled::default());
        Ok(Self { device, queue, name, dot, products, kernels, largest, failure })
    }

    /// The same GPU with another way to sum products of int8: for tests.
    #[must_use]
    pub fn with_dot(self, dot: PackedDot) -> Self {
        Self { dot, ..self }
    }

    /// The same GPU with another way to share out products: for measurements and tests.
    #[must_use]
    pub fn with_products(self, products: Products) -> Self {
        Self { products, ..self }
    }

    /// The same GPU as if no kernel could see more than `largest` bytes of a buffer: for tests.
    #[must_use]
    pub fn with_largest_buffer(self, largest: u64) -> Self {
        Self { largest, ..self }
    }

    /// Which GPU it is.
    pub fn name(&self) -> &AdapterName {
        &self.name
    }

    /// Gives the device back: whatever uses it from now on fails as if the GPU had been lost.
    pub fn destroy(&self) {
        self.device.destroy();
    }

    /// A buffer of `bytes` for kernels, all zero.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`], naming `label`, if that is more than this GPU allows.
    pub(super) fn buffer(&self, label: &str, bytes: u64) -> Result<wgpu::Buffer> {
        if bytes > self.largest {
            let (name, largest) = (&self.name, self.largest);
            let message = format!(
                "{label} takes {bytes} bytes, {name} allows {largest} in one buffer: lower batch, beam or lengths, \
                 or use the CPU"
            );
            return Err(Error::new(ErrorKind::MemoryLimit, message));
        }
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
        Ok(self.create(label, bytes, usage))
    }

    /// A buffer of `bytes` that the host reads.
    pub(super) fn readable(&self, bytes: u64) -> wgpu::Buffer {
        self.create("readable", bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST)
    }

    /// The parameters of a kernel.
    pub(super) fn parameters(&self, words: &[u32]) -> wgpu::Buffer {
        let usage = BufferUsages::UNIFORM | BufferUsages::COPY_DST;
        let buffer = self.create("parameters", 4 * words.len() as u64, usage);
        self.write(&buffer, bytemuck::cast_slice(words));
        buffer
    }

    fn create(&self, label: &str, bytes: u64, usage: BufferUsages) -> wgpu::Buffer {
        // No binding may be empty, and copies are of whole words.
        let size = bytes.next_multiple_of(16).max(16);
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    /// Writes `bytes`, a whole number of words, to the front of `buffer` before the next submission.
    pub(super) fn write(&self, buffer: &wgpu::Buffer, bytes: &[u8]) {
        self.queue.write_buffer(buffer, 0, bytes);
    }

    /// A kernel's buffer that holds `bytes`.
    ///
    /// # Errors
    /// As [`buffer`](Self::buffer).
    pub(super) fn upload(&self, label: &str, bytes: &[u8]) -> Result<wgpu::Buffer> {
        let buffer = self.buffer(label, bytes.len() as u64)?;
        self.write(&buffer, bytes);
        Ok(buffer)
    }

    pub(super) fn submit(&self, commands: wgpu::CommandEncoder) {
        self.queue.submit([commands.finish()]);
    }

    /// Waits for all submissions and gives the first `bytes` of `buffer` to `take`.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub(super) fn read(&self, buffer: &wgpu::Buffer, bytes: u64, take: impl FnOnce(&[u8])) -> Result<()> {
        self.check()?;
        let slice = buffer.slice(..bytes);
        let failure = Arc::clone(&self.failure);
        slice.map_async(wgpu::MapMode::Read, move |mapped| {
            if let Err(error) = mapped {
                note(&failure, error.to_string());
            }
        });
        if let Err(error) = self.device.poll(wgpu::PollType::wait_indefinitely()) {
            note(&self.failure, error.to_string());
        }
        self.check()?;
        match slice.get_mapped_range() {
            Ok(view) => take(&view),
            Err(error) => note(&self.failure, error.to_string()),
        }
        buffer.unmap();
        self.check()
    }

    /// Whether everything went well so far.
    ///
    /// # Errors
    /// [`ErrorKind::Delegate`] if the device was lost, is out of memory, or its driver refused something.
    pub(super) fn check(&self) -> Result<()> {
        let failure = self.failure.lock().map_err(|_| failed("a thread ended in a panic"))?;
        match &*failure {
            None => Ok(()),
            Some(message) => Err(failed(format!("{}: {message}; use the CPU", self.name))),
        }
    }
}

/// Keeps the first failure: what follows from it says less.
fn note(failure: &Mutex<Option<String>>, message: String) {
    if let Ok(mut failure) = failure.lock() {
        failure.get_or_insert(message);
    }
}

pub(super) fn no_adapter() -> Error {
    failed("no GPU: neither Vulkan, Metal nor DirectX 12 has an adapter here; install a driver")
}
