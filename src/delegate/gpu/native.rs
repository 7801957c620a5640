//! What is asked of a GPU, by `wgpu`: Vulkan, Metal and DirectX 12. `browser.rs` is the same for WebAssembly.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::sync::Mutex;

pub(super) use wgpu::{BindGroup as Bindings, Buffer};

use super::device::{AdapterKind, AdapterName, PackedDot, no_adapter};
use super::driver::{Access, Launch, Opened, Transfer, Usage};
use crate::delegate::failed;
use crate::error::Result;

/// The interface and its version.
pub(super) const VERSION: &str = "wgpu 30";

/// What is missing where there is no adapter.
pub(super) const MISSING: &str = "neither Vulkan, Metal nor DirectX 12 has an adapter here; install a driver";

/// An open device.
pub(super) struct Driver {
    device: wgpu::Device,
    queue: wgpu::Queue,
    /// What the driver said when it first failed.
    failure: Arc<Mutex<Option<String>>>,
}

/// A compiled kernel.
#[derive(Clone)]
pub(super) struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle())
}

/// The adapters of this machine, the best first.
pub(super) fn adapters() -> Vec<AdapterName> {
    enumerate(&instance()).iter().map(name_of).collect()
}

fn enumerate(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    use wgpu::DeviceType;
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
    let software = info.device_type == wgpu::DeviceType::Cpu;
    AdapterName {
        driver: format!("{:?}, {} {}", info.backend, info.driver, info.driver_info),
        kind: if software { AdapterKind::Software } else { AdapterKind::Hardware },
        name: info.name,
    }
}

impl Driver {
    /// Opens the best adapter, with all that its limits allow.
    ///
    /// # Errors
    /// [`ErrorKind::Delegate`](crate::ErrorKind::Delegate) if there is none, or it gives no device.
    pub fn open() -> Result<Opened> {
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
        Ok(Opened { driver: Self { device, queue, failure }, name, dot, largest })
    }

    /// Gives the device back.
    pub fn destroy(&self) {
        self.device.destroy();
    }

    /// A buffer of `bytes`, a multiple of 16 above 0, all zero.
    pub fn buffer(&self, label: &str, bytes: u64, usage: Usage) -> Buffer {
        use wgpu::BufferUsages;
        let usage = match usage {
            Usage::Storage => BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC,
            Usage::Uniform => BufferUsages::UNIFORM | BufferUsages::COPY_DST,
            Usage::Readable => BufferUsages::MAP_READ | BufferUsages::COPY_DST,
        };
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes,
            usage,
            mapped_at_creation: false,
        })
    }

    /// Writes `bytes`, a whole number of words, to the front of `buffer` before the next submission.
    pub fn write(&self, buffer: &Buffer, bytes: &[u8]) {
        self.queue.write_buffer(buffer, 0, bytes);
    }

    /// The kernel of `text`, whose bindings are two uniform buffers and storage with these accesses.
    pub fn pipeline(&self, label: &str, text: &str, storage: &[Access]) -> Pipeline {
        let device = &self.device;
        let types = [wgpu::BufferBindingType::Uniform; 2].into_iter().chain(
            storage
                .iter()
                .map(|&access| wgpu::BufferBindingType::Storage { read_only: access == Access::Read }),
        );
        let entries: Vec<_> = types
            .zip(0..)
            .map(|(ty, binding)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
                count: None,
            })
            .collect();
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(label),
            entries: &entries,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(label),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(label),
            source: wgpu::ShaderSource::Wgsl(text.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(label),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: Default::default(),
            cache: None,
        });
        Pipeline { pipeline, layout }
    }

    /// The buffers that a kernel works on, in the order of its bindings.
    pub fn bind<'b>(&self, kernel: &Pipeline, buffers: impl Iterator<Item = &'b Buffer>) -> Bindings {
        let entries: Vec<_> = buffers
            .zip(0..)
            .map(|(buffer, binding)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &kernel.layout,
            entries: &entries,
        })
    }

    /// Runs `launches` one after the other, then `copy`, as one submission.
    pub fn submit<'l>(&self, launches: impl Iterator<Item = Launch<'l>>, copy: Option<Transfer<'_>>) {
        let mut commands = self.device.create_command_encoder(&Default::default());
        let mut pass = commands.begin_compute_pass(&Default::default());
        for Launch { kernel, bindings, workgroups: [x, y] } in launches {
            pass.set_pipeline(&kernel.pipeline);
            pass.set_bind_group(0, bindings, &[]);
            pass.dispatch_workgroups(x, y, 1);
        }
        drop(pass);
        if let Some(Transfer { from, to, bytes }) = copy {
            commands.copy_buffer_to_buffer(from, 0, to, 0, bytes);
        }
        self.queue.submit([commands.finish()]);
    }

    /// Waits for all submissions and gives the first `bytes` of the readable `buffer` to `take`; what goes wrong is told by
    /// [`failure`](Self::failure).
    pub fn read(&self, buffer: &Buffer, bytes: u64, take: impl FnOnce(&[u8])) {
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
        if self.failure().is_some() {
            return;
        }
        match slice.get_mapped_range() {
            Ok(view) => take(&view),
            Err(error) => note(&self.failure, error.to_string()),
        }
        buffer.unmap();
    }

    /// What the driver said when it first failed.
    pub fn failure(&self) -> Option<String> {
        match self.failure.lock() {
            Ok(failure) => failure.clone(),
            Err(_) => Some("a thread ended in a panic".into()),
        }
    }
}

/// Keeps the first failure: what follows from it says less.
fn note(failure: &Mutex<Option<String>>, message: String) {
    if let Ok(mut failure) = failure.lock() {
        failure.get_or_insert(message);
    }
}
