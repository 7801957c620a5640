//! The model file: bytes to sections, metadata, tensors and golden sentences, and back.
//!
//! `docs/format.md` defines every byte. This module knows the container only: what a key or a tensor *means* is for
//! the layers above.
//!
//! [`File::parse`] checks the structure, in time that grows with the number of sections and tensors and not with
//! their size; after it every slice handed out is in bounds, aligned and of the right length. [`File::verify`] reads
//! every byte: checksums, padding, and that the weights are numbers that kernels may multiply.

mod bytes;
mod crc32;
mod file;
mod golden;
mod index;
mod lessons;
mod metadata;
mod metadata_builder;
#[cfg(feature = "std")]
mod replace;
mod screen;
mod section;
mod shortlist;
mod tensor_ref;
mod verify;
mod writer;

pub use bytes::{List, Word};
pub use crc32::crc32;
pub use file::{File, Fingerprint, spell_fingerprint};
pub use golden::{Golden, GoldenBuilder, GoldenSentence};
pub use index::{Tensor, TensorIndex};
pub use lessons::{Lesson, Lessons, lessons_section};
pub use metadata::{Entry, FromValue, Metadata, Requirement, Value};
pub use metadata_builder::{MetadataBuilder, ToValue};
#[cfg(feature = "std")]
pub use replace::write_atomically;
pub use screen::{Screen, screen_section};
pub use section::{Section, SectionKind};
pub use shortlist::{Shortlist, ShortlistBuilder, Tokens};
pub use tensor_ref::{Layout, Shape, TensorRef};
pub use writer::Writer;

use crate::error::{Error, ErrorKind};
use core::fmt::Display;

/// The first six bytes of every model file; the version follows as a u16.
pub const MAGIC: [u8; 6] = *b"SISKIN";

/// The version that this library writes, and the newest that it reads.
pub const VERSION: u16 = 1;

/// Sections, and every array of a tensor, begin at a multiple of this in the file.
pub const ALIGNMENT: usize = 64;

/// The error for bytes that contradict the format.
fn corrupt(message: impl Display) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        alloc::format!("{message}; the file is damaged: copy or download it again"),
    )
}
