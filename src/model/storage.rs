//! Where a model's bytes are.

#![allow(unsafe_code)]

#[cfg(feature = "std")]
use crate::error::{Error, ErrorKind};
#[cfg(feature = "std")]
use alloc::format;
#[cfg(feature = "std")]
use core::ops::Range;

use crate::error::Result;
use crate::format::{File, SectionKind};
use crate::tensor::AlignedBytes;
use crate::text::Vocabulary;

/// The bytes of a model file, wherever they are.
pub(super) enum Storage {
    /// Given by the caller.
    Owned(AlignedBytes),
    /// In the program or in flash.
    Static(&'static [u8]),
    /// Mapped from a file, or read into pages of its own.
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

    /// Reads the bytes `range` of a file.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a range that the file does not have; [`ErrorKind::Io`].
    #[cfg(feature = "std")]
    pub fn read(mut file: &std::fs::File, range: Range<u64>) -> Result<Self> {
        use std::io::{Read, Seek, SeekFrom};
        let length = length_within(file, &range)?;
        let mut map = memmap2::MmapMut::map_anon(length)
            .map_err(|e| Error::io(format!("cannot get {length} bytes for the file"), e))?;
        #[cfg(target_os = "linux")]
        drop(map.advise(HUGE_PAGES));
        let fail = |e| Error::io("cannot read the file", e);
        file.seek(SeekFrom::Start(range.start)).map_err(fail)?;
        file.read_exact(&mut map).map_err(fail)?;
        map.make_read_only().map(Self::Mapped).map_err(fail)
    }

    /// Maps the bytes `range` of a file.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Safety
    /// As [`super::Model::map_range`].
    #[cfg(feature = "std")]
    pub unsafe fn map(file: &std::fs::File, range: Range<u64>) -> Result<Self> {
        let mut options = memmap2::MmapOptions::new();
        options.offset(range.start).len(length_within(file, &range)?);
        // SAFETY: the caller promises that the file does not change while it is mapped; the range lies in it.
        let map = unsafe { options.map(file) }.map_err(|e| Error::io("cannot map the file", e))?;
        #[cfg(target_os = "linux")]
        drop(map.advise(HUGE_PAGES));
        Ok(Self::Mapped(map))
    }
}

/// Weights are read from end to end: with few large pages addresses are translated more rarely. A file comes in such pages
/// if it is not in the page cache yet and its file system has them. Advice: where it is not taken, pages are small.
#[cfg(target_os = "linux")]
const HUGE_PAGES: memmap2::Advice = memmap2::Advice::HugePage;

/// The length of `range`, which the file has.
#[cfg(feature = "std")]
fn length_within(file: &std::fs::File, range: &Range<u64>) -> Result<usize> {
    let size = file.metadata().map_err(|e| Error::io("cannot read the file's size", e))?.len();
    let Some(length) = range.end.checked_sub(range.start).filter(|_| range.end <= size) else {
        let message = format!("bytes {} to {} of a file of {size} bytes", range.start, range.end);
        return Err(Error::new(ErrorKind::InvalidOption, message));
    };
    usize::try_from(length)
        .map_err(|_| Error::io("cannot address the file", std::io::ErrorKind::FileTooLarge.into()))
}
