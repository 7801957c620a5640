//! Buffers that are counted before they are allocated.

use alloc::format;
use alloc::vec::Vec;

use crate::error::{Error, ErrorKind, Result};

/// Hands out empty buffers with room, and counts their bytes.
///
/// The same constructor makes the buffers and, over [`Memory::counting`], plans them: the two cannot disagree.
pub(super) struct Memory {
    allocates: bool,
    bytes: usize,
}

impl Memory {
    /// Counts only: every buffer it hands out has no room.
    pub fn counting() -> Self {
        Self { allocates: false, bytes: 0 }
    }

    /// Counts and allocates.
    pub fn allocating() -> Self {
        Self { allocates: true, bytes: 0 }
    }

    /// Bytes of all buffers so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// An empty buffer with room for a `shape` of elements.
    ///
    /// # Errors
    /// [`ErrorKind::MemoryLimit`] if there is not that much memory.
    pub fn buffer<T>(&mut self, shape: &[usize]) -> Result<Vec<T>> {
        let refused = || {
            let message =
                format!("a search needs a buffer of {shape:?} elements of {} bytes", size_of::<T>());
            Error::new(ErrorKind::MemoryLimit, message + ": choose a smaller batch, beam or maximum length")
        };
        let elements =
            shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n)).ok_or_else(refused)?;
        let bytes = elements.checked_mul(size_of::<T>()).ok_or_else(refused)?;
        self.bytes = self.bytes.checked_add(bytes).ok_or_else(refused)?;
        let mut buffer = Vec::new();
        if self.allocates {
            buffer.try_reserve_exact(elements).map_err(|_| refused())?;
        }
        Ok(buffer)
    }
}
