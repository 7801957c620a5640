//! Where a model's bytes are.

#![allow(unsafe_code)]

use crate::error::Result;
use crate::format::{File, SectionKind};
use crate::tensor::AlignedBytes;
use crate::text::Vocabulary;

/// The bytes of a model file, wherever they are.
pub(super) enum Storage {
    /// Read into memory.
    Owned(AlignedBytes),
    /// In the program or in flash.
    Static(&'static [u8]),
    /// Mapped from a file.
    #[cfg(feature = "std")]
    Mapped(memmap2::Mmap),
}

impl Storage {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes.as_slice(),
            Self::Static(bytes) => bytes,
            #[cfg(feature = "std")]
            Self::Mapped(map) => map,
        }
    }

    /// The section of `kind` as a vocabulary, if the file has one. The caller keeps it beside this storage.
    ///
    /// # Errors
    /// As [`Vocabulary::parse`].
    pub fn vocabulary(&self, kind: SectionKind) -> Result<Option<Vocabulary<'static>>> {
        let Some(section) = File::parse(self.bytes())?.section(kind) else { return Ok(None) };
        // SAFETY: the bytes of a storage never change and do not move with it: they are on the heap, in a mapping or
        // static. `Model` owns both, never takes one from the other, and hands the vocabulary out for its own lifetime.
        let section: &'static [u8] = unsafe { core::slice::from_raw_parts(section.as_ptr(), section.len()) };
        Vocabulary::parse(section).map(Some).map_err(|e| e.at(kind))
    }

    /// Reads the whole file.
    #[cfg(feature = "std")]
    pub fn read(path: &std::path::Path) -> Result<Self> {
        use crate::Error;
        use std::io::Read;
        let fail = |doing: &str, e| Error::io(format!("cannot {doing} {}", path.display()), e);
        let mut file = std::fs::File::open(path).map_err(|e| fail("open", e))?;
        let length = file.metadata().map_err(|e| fail("read", e))?.len();
        let length =
            usize::try_from(length).map_err(|_| fail("read", std::io::ErrorKind::FileTooLarge.into()))?;
        let mut bytes = AlignedBytes::zeroed(length);
        file.read_exact(bytes.as_mut_slice()).map_err(|e| fail("read", e))?;
        Ok(Self::Owned(bytes))
    }

    /// Maps the file.
    ///
    /// # Safety
    /// As [`super::Model::map`].
    #[cfg(feature = "std")]
    pub unsafe fn map(path: &std::path::Path) -> Result<Self> {
        use crate::Error;
        let fail = |doing: &str, e| Error::io(format!("cannot {doing} {}", path.display()), e);
        let file = std::fs::File::open(path).map_err(|e| fail("open", e))?;
        // SAFETY: the caller promises that the file does not change while it is mapped.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| fail("map", e))?;
        Ok(Self::Mapped(map))
    }
}
