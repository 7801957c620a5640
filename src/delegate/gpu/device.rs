//! The GPU: which one, its limits, its memory, and what went wrong on it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::driver::{self, Buffer, Driver, Launch, MISSING, Opened, Transfer, Usage};
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
    pub(super) driver: Driver,
    name: AdapterName,
    pub(super) dot: PackedDot,
    pub(super) products: Products,
    pub(super) kernels: Compiled,
    /// The most bytes of a buffer that a kernel can see.
    largest: u64,
}

/// How four products of int8 are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackedDot {
    /// By WGSL's `dot4I8Packed`.
    Builtin,
    /// By shifts and a dot product of vectors, where that is missing.
    Unpacked,
}

/// The adapters of this machine, the best first: GPUs before software rasterizers. A browser names only the one that it
/// chose.
pub fn adapters() -> Vec<AdapterName> {
    driver::adapters()
}

impl Gpu {
    /// Opens the best adapter, with all that its limits allow.
    ///
    /// # Errors
    /// [`ErrorKind::Delegate`] if there is none, or it gives no device.
    pub fn open() -> Result<Self> {
        let Opened { driver, name, dot, largest } = Driver::open()?;
        let (products, kernels) = (Products::Tiled, Compiled::default());
        Ok(Self { driver, name, dot, products, kernels, largest })
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
        self.driver.destroy();
    }

    /// A buffer of `bytes` for kernels, all zero.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`], naming `label`, if that is more than this GPU allows.
    pub(super) fn buffer(&self, label: &str, bytes: u64) -> Result<Buffer> {
        if bytes > self.largest {
            let (name, largest) = (&self.name, self.largest);
            let message = format!(
                "{label} takes {bytes} bytes, {name} allows {largest} in one buffer: lower batch, beam or lengths, \
                 or use the CPU"
            );
            return Err(Error::new(ErrorKind::MemoryLimit, message));
        }
        Ok(self.create(label, bytes, Usage::Storage))
    }

    /// A buffer of `bytes` that the host reads.
    pub(super) fn readable(&self, bytes: u64) -> Buffer {
        self.create("readable", bytes, Usage::Readable)
    }

    /// The parameters of a kernel.
    pub(super) fn parameters(&self, words: &[u32]) -> Buffer {
        let buffer = self.create("parameters", 4 * words.len() as u64, Usage::Uniform);
        self.write(&buffer, bytemuck::cast_slice(words));
        buffer
    }

    fn create(&self, label: &str, bytes: u64, usage: Usage) -> Buffer {
        // No binding may be empty, and copies are of whole words.
        self.driver.buffer(label, bytes.next_multiple_of(16).max(16), usage)
    }

    /// Writes `bytes`, a whole number of words, to the front of `buffer` before the next submission.
    pub(super) fn write(&self, buffer: &Buffer, bytes: &[u8]) {
        self.driver.write(buffer, bytes);
    }

    /// A kernel's buffer that holds `bytes`.
    ///
    /// # Errors
    /// As [`buffer`](Self::buffer).
    pub(super) fn upload(&self, label: &str, bytes: &[u8]) -> Result<Buffer> {
        let buffer = self.buffer(label, bytes.len() as u64)?;
        self.write(&buffer, bytes);
        Ok(buffer)
    }

    /// Runs `launches` one after the other, then `copy`, as one submission.
    pub(super) fn submit<'l>(&self, launches: impl Iterator<Item = Launch<'l>>, copy: Option<Transfer<'_>>) {
        self.driver.submit(launches, copy);
    }

    /// Waits for all submissions and gives the first `bytes` of `buffer` to `take`.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub(super) fn read(&self, buffer: &Buffer, bytes: u64, take: impl FnOnce(&[u8])) -> Result<()> {
        self.check()?;
        self.driver.read(buffer, bytes, take);
        self.check()
    }

    /// Whether everything went well so far.
    ///
    /// # Errors
    /// [`ErrorKind::Delegate`] if the device was lost, is out of memory, or its driver refused something.
    pub(super) fn check(&self) -> Result<()> {
        match self.driver.failure() {
            None => Ok(()),
            Some(message) => Err(failed(format!("{}: {message}; use the CPU", self.name))),
        }
    }
}

pub(super) fn no_adapter() -> Error {
    failed(format!("no GPU: {MISSING}"))
}
