//! What a GPU is asked for, whoever passes it on.

#[cfg(target_family = "wasm")]
pub(super) use super::browser::{Bindings, Buffer, Driver, MISSING, Pipeline, VERSION, adapters};
use super::device::{AdapterName, PackedDot};
#[cfg(not(target_family = "wasm"))]
pub(super) use super::native::{Bindings, Buffer, Driver, MISSING, Pipeline, VERSION, adapters};

/// A device that was just opened.
pub(super) struct Opened {
    pub driver: Driver,
    pub name: AdapterName,
    pub dot: PackedDot,
    /// The most bytes of a buffer that a kernel can see.
    pub largest: u64,
}

/// What a buffer is for. Every one can be written by the host, but for what it reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    /// Kernels read and write it.
    Storage,
    /// The parameters of kernels.
    Uniform,
    /// The host reads it.
    Readable,
}

/// What a kernel does with a buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// A kernel and what it works on.
pub(super) struct Launch<'a> {
    pub kernel: &'a Pipeline,
    pub bindings: &'a Bindings,
    /// Workgroups in x and y.
    pub workgroups: [u32; 2],
}

/// A copy of the first bytes of a buffer.
pub(super) struct Transfer<'a> {
    pub from: &'a Buffer,
    pub to: &'a Buffer,
    pub bytes: u64,
}
