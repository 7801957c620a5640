//! What is asked of a GPU, by functions that JavaScript gives: `bindings/web/gpu.js`. `native.rs` is the same by `wgpu`.
//!
//! Objects have numbers, and numbers are given back when the last owner is dropped. Two functions wait for the GPU; in a
//! browser only JavaScript can, which suspends the module meanwhile.

#![allow(unsafe_code)]

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::device::{AdapterKind, AdapterName, PackedDot, no_adapter};
use super::driver::{Access, Launch, Opened, Transfer, Usage};
use crate::error::Result;

/// The interface.
pub(super) const VERSION: &str = "WebGPU";

/// What is missing where there is no adapter.
pub(super) const MISSING: &str =
    "this browser has no WebGPU, no adapter for it, or cannot let a module wait (JSPI)";

/// Bytes of a name or an error, at most; the rest is cut off.
const TEXT: usize = 1000;

#[link(wasm_import_module = "siskin_gpu")]
unsafe extern "C" {
    /// Waits for a device, if none was opened before; 1 if there is one.
    safe fn open() -> u32;
    /// 1 if the CPU plays the GPU.
    safe fn is_software() -> u32;
    /// 1 if WGSL has `dot4I8Packed`.
    safe fn has_packed_dot() -> u32;
    /// The most bytes of a buffer that a kernel can see.
    safe fn largest() -> f64;
    safe fn destroy();
    /// Writes the GPU's name, at most `room` bytes of UTF-8, to `to` and gives their number.
    fn name(to: *mut u8, room: usize) -> usize;
    /// The same for the first failure.
    fn failure(to: *mut u8, room: usize) -> usize;
    /// A buffer; `usage` is that of [`Usage`], by its place there.
    safe fn create(bytes: f64, usage: u32) -> u32;
    fn write(buffer: u32, from: *const u8, length: usize);
    /// The kernel of a text, for two uniform buffers and `count` of storage, whose bits in `writable` say which are written.
    fn compile(text: *const u8, length: usize, count: usize, writable: u32) -> u32;
    fn bind(kernel: u32, buffers: *const u32, count: usize) -> u32;
    /// Adds a dispatch to the next submission.
    safe fn dispatch(kernel: u32, bindings: u32, x: u32, y: u32);
    /// Adds a copy of so many bytes.
    safe fn copy(from: u32, to: u32, bytes: f64);
    safe fn submit();
    /// Waits for all submissions and writes the first `length` bytes of `buffer` to `to`.
    fn read(buffer: u32, to: *mut u8, length: usize);
    safe fn release(object: u32);
}

/// The number of an object.
struct Object(u32);

impl Drop for Object {
    fn drop(&mut self) {
        release(self.0);
    }
}

/// Memory of the GPU.
#[derive(Clone)]
pub(super) struct Buffer(Arc<Object>);

/// A compiled kernel.
#[derive(Clone)]
pub(super) struct Pipeline(Arc<Object>);

/// The buffers that a kernel works on.
pub(super) struct Bindings(Object);

/// The browser's device.
pub(super) struct Driver(());

/// The text that `write` writes.
fn text(write: unsafe extern "C" fn(*mut u8, usize) -> usize) -> String {
    let mut bytes = alloc::vec![0; TEXT];
    // SAFETY: `write` writes at most as many bytes as there are.
    let length = unsafe { write(bytes.as_mut_ptr(), bytes.len()) };
    String::from_utf8_lossy(&bytes[..length.min(TEXT)]).into_owned()
}

/// The adapter that the browser chose.
pub(super) fn adapters() -> Vec<AdapterName> {
    Driver::open().into_iter().map(|opened| opened.name).collect()
}

impl Driver {
    /// Opens the adapter that the browser chooses, with all that its limits allow.
    ///
    /// # Errors
    /// [`ErrorKind::Delegate`](crate::ErrorKind::Delegate) if there is none, or it gives no device.
    pub fn open() -> Result<Opened> {
        if open() == 0 {
            return Err(no_adapter());
        }
        let kind = if is_software() == 1 { AdapterKind::Software } else { AdapterKind::Hardware };
        let name = AdapterName { name: text(name), driver: VERSION.into(), kind };
        let dot = if has_packed_dot() == 1 { PackedDot::Builtin } else { PackedDot::Unpacked };
        Ok(Opened { driver: Self(()), name, dot, largest: largest() as u64 })
    }

    /// Gives the device back.
    pub fn destroy(&self) {
        destroy();
    }

    /// A buffer of `bytes`, a multiple of 16 above 0, all zero.
    pub fn buffer(&self, _label: &str, bytes: u64, usage: Usage) -> Buffer {
        Buffer(Arc::new(Object(create(bytes as f64, usage as u32))))
    }

    /// Writes `bytes`, a whole number of words, to the front of `buffer` before the next submission.
    pub fn write(&self, buffer: &Buffer, bytes: &[u8]) {
        // SAFETY: `write` reads as many bytes as there are.
        unsafe { write(buffer.0.0, bytes.as_ptr(), bytes.len()) };
    }

    /// The kernel of `text`, whose bindings are two uniform buffers and storage with these accesses.
    pub fn pipeline(&self, _label: &str, text: &str, storage: &[Access]) -> Pipeline {
        let written = storage.iter().enumerate().filter(|(_, access)| **access == Access::Write);
        let writable = written.map(|(i, _)| 1 << i).sum();
        // SAFETY: `compile` reads as many bytes as there are.
        let kernel = unsafe { compile(text.as_ptr(), text.len(), storage.len(), writable) };
        Pipeline(Arc::new(Object(kernel)))
    }

    /// The buffers that a kernel works on, in the order of its bindings.
    pub fn bind<'b>(&self, kernel: &Pipeline, buffers: impl Iterator<Item = &'b Buffer>) -> Bindings {
        let numbers: Vec<u32> = buffers.map(|buffer| buffer.0.0).collect();
        // SAFETY: `bind` reads as many numbers as there are.
        Bindings(Object(unsafe { bind(kernel.0.0, numbers.as_ptr(), numbers.len()) }))
    }

    /// Runs `launches` one after the other, then `transfer`, as one submission.
    pub fn submit<'l>(&self, launches: impl Iterator<Item = Launch<'l>>, transfer: Option<Transfer<'_>>) {
        for Launch { kernel, bindings, workgroups: [x, y] } in launches {
            dispatch(kernel.0.0, bindings.0.0, x, y);
        }
        if let Some(Transfer { from, to, bytes }) = transfer {
            copy(from.0.0, to.0.0, bytes as f64);
        }
        submit();
    }

    /// Waits for all submissions and gives the first `bytes` of the readable `buffer` to `take`; what goes wrong is told by
    /// [`failure`](Self::failure).
    pub fn read(&self, buffer: &Buffer, bytes: u64, take: impl FnOnce(&[u8])) {
        let mut words = alloc::vec![0u32; (bytes as usize).div_ceil(4)];
        let found: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        let found = &mut found[..bytes as usize];
        // SAFETY: `read` writes as many bytes as there are.
        unsafe { read(buffer.0.0, found.as_mut_ptr(), found.len()) };
        take(found);
    }

    /// What first went wrong.
    pub fn failure(&self) -> Option<String> {
        Some(text(failure)).filter(|text| !text.is_empty())
    }
}
