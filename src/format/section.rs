//! The header and the section table.

use super::bytes::Cursor;
use super::{ALIGNMENT, MAGIC, VERSION, corrupt, crc32};
use crate::error::{Error, ErrorKind, Result};
use core::fmt;
use core::ops::Range;

pub(super) const HEADER_LENGTH: usize = 64;
pub(super) const HEADER_CHECKSUM_AT: usize = 60;
pub(super) const TABLE_ENTRY_LENGTH: usize = 32;
pub(super) const CRITICAL: u32 = 1;

/// What a section holds. In the file a number; sections lie in ascending order of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SectionKind {
    /// 1: metadata, the model's architecture.
    Spec,
    /// 2: metadata, defaults for generation.
    Generation,
    /// 3: metadata, the model card.
    Card,
    /// 4: metadata, how the weights were quantized and what it cost.
    Receipt,
    /// 5: the vocabulary of the source, and of the target where that has none of its own.
    SourceVocabulary,
    /// 6: the vocabulary of the target.
    TargetVocabulary,
    /// 7: a lexical shortlist, see [`Shortlist`](super::Shortlist).
    Shortlist,
    /// 8: inputs with the outputs that the model must give for them.
    Golden,
    /// 9: metadata, what an adapter was made for; only in adapter files.
    Adapter,
    /// 10: names, types, shapes and places of the tensors.
    TensorIndex,
    /// 11: the elements of the tensors.
    TensorData,
    /// 12: what an adapter was learned from, see [`Lessons`](super::Lessons).
    Lessons,
    /// 13: metadata, how far a suspended lesson is; only in the files of suspended lessons.
    Course,
    /// 14: words of sources with the words of targets that an adapter was taught for them, laid out as lessons.
    Terms,
    /// 15: metadata, what all weights of a type have in common that kernels may rely on.
    WeightRanges,
    /// 16: a rough copy of the output projection, see [`Screen`](super::Screen).
    Screen,
    /// A kind that this version does not know.
    Unknown(u32),
}

const KINDS: [(SectionKind, &str); 16] = [
    (SectionKind::Spec, "spec"),
    (SectionKind::Generation, "generation"),
    (SectionKind::Card, "card"),
    (SectionKind::Receipt, "receipt"),
    (SectionKind::SourceVocabulary, "source vocabulary"),
    (SectionKind::TargetVocabulary, "target vocabulary"),
    (SectionKind::Shortlist, "shortlist"),
    (SectionKind::Golden, "golden sentences"),
    (SectionKind::Adapter, "adapter"),
    (SectionKind::TensorIndex, "tensor index"),
    (SectionKind::TensorData, "tensor data"),
    (SectionKind::Lessons, "lessons"),
    (SectionKind::Course, "course"),
    (SectionKind::Terms, "terms"),
    (SectionKind::WeightRanges, "weight ranges"),
    (SectionKind::Screen, "screen"),
];

impl SectionKind {
    /// The number that stands for this kind in the file.
    pub fn code(self) -> u32 {
        match self {
            Self::Unknown(code) => code,
            known => KINDS.iter().zip(1..).find(|((kind, _), _)| *kind == known).map_or(0, |(_, code)| code),
        }
    }

    fn from_code(code: u32) -> Self {
        KINDS
            .iter()
            .zip(1..)
            .find(|(_, known)| *known == code)
            .map_or(Self::Unknown(code), |((kind, _), _)| *kind)
    }
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match KINDS.iter().find(|(kind, _)| kind == self) {
            Some((_, name)) => f.pad(name),
            None => f.pad(&alloc::format!("kind {}", self.code())),
        }
    }
}

/// One entry of the section table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What the section holds.
    pub kind: SectionKind,
    /// Whether a reader that does not know the kind must refuse the file.
    pub critical: bool,
    /// Where it lies in the file, in bytes.
    pub range: Range<usize>,
    /// [`crc32`] of its bytes.
    pub checksum: u32,
}

/// The checked section table of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct SectionTable<'a>(&'a [[u8; TABLE_ENTRY_LENGTH]]);

impl<'a> SectionTable<'a> {
    /// Checks header and table against each other, their checksum, and the length of the file.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let count = parse_header(bytes)?;
        let table = usize::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(TABLE_ENTRY_LENGTH))
            .and_then(|length| bytes.get(HEADER_LENGTH..)?.get(..length))
            .ok_or_else(|| corrupt(format_args!("header: the file has no room for {count} sections")))?;
        let header = bytes.get(..HEADER_CHECKSUM_AT).unwrap_or_default();
        if Some(crc32(crc32(0, header), table)) != u32_at(bytes, HEADER_CHECKSUM_AT) {
            return Err(corrupt("header: its checksum differs"));
        }
        let table = Self(table.as_chunks().0);
        table.check(bytes.len())?;
        Ok(table)
    }

    /// Ascending kinds, one behind the other without a hole, the last at the end of the file.
    fn check(&self, file_length: usize) -> Result<()> {
        let mut end = HEADER_LENGTH + self.0.len() * TABLE_ENTRY_LENGTH;
        let mut last = 0;
        for (i, entry) in self.0.iter().enumerate() {
            let bad = |what: &str| corrupt(format_args!("section table, entry {i}: {what}"));
            let section = decode(entry).ok_or_else(|| bad("unknown flags or an impossible range"))?;
            if section.kind.code() <= last {
                return Err(bad("the kinds do not ascend"));
            }
            if section.range.start != end.next_multiple_of(ALIGNMENT) || section.range.end > file_length {
                return Err(bad("not where the section before it ends, or beyond the end of the file"));
            }
            if let (SectionKind::Unknown(kind), true) = (section.kind, section.critical) {
                return Err(Error::new(
                    ErrorKind::NewerVersion,
                    alloc::format!(
                        "the model needs a section of kind {kind}, which this version does not know: update Siskin"
                    ),
                ));
            }
            last = section.kind.code();
            end = section.range.end;
        }
        if end != file_length {
            return Err(corrupt(format_args!("the last section ends at byte {end} of {file_length}")));
        }
        Ok(())
    }

    /// The sections in the order of the file.
    pub fn iter(self) -> impl Iterator<Item = Section> + Clone + use<'a> {
        self.0.iter().filter_map(decode)
    }

    /// The section of `kind`.
    pub fn find(self, kind: SectionKind) -> Option<Section> {
        self.iter().find(|section| section.kind == kind)
    }
}

/// Checks everything in the header but its checksum; gives the number of sections.
fn parse_header(bytes: &[u8]) -> Result<u32> {
    if bytes.len() < MAGIC.len() || !bytes.starts_with(&MAGIC) {
        return Err(Error::new(
            ErrorKind::NotAModel,
            "not a Siskin model: the file does not begin with \"SISKIN\"; models of other programs must be imported \
             with `siskin-export import`",
        ));
    }
    let mut fields = Cursor(bytes.get(MAGIC.len()..HEADER_LENGTH).ok_or_else(|| {
        corrupt(format_args!(
            "header: the file has {} bytes and the header alone {HEADER_LENGTH}",
            bytes.len()
        ))
    })?);
    let read = "the header is 64 bytes long";
    let version = fields.u16().ok_or_else(|| corrupt(read))?;
    if version > VERSION {
        return Err(Error::new(
            ErrorKind::NewerVersion,
            alloc::format!(
                "the model has format version {version}, this library reads up to {VERSION}: update Siskin"
            ),
        ));
    }
    let length = fields.u64().ok_or_else(|| corrupt(read))?;
    if usize::try_from(length) != Ok(bytes.len()) {
        return Err(corrupt(format_args!("the file has {} of its {length} bytes", bytes.len())));
    }
    let count = fields.u32().ok_or_else(|| corrupt(read))?;
    let reserved = fields.take(HEADER_CHECKSUM_AT - 20).ok_or_else(|| corrupt(read))?;
    if version == 0 || reserved.iter().any(|&byte| byte != 0) {
        return Err(corrupt("header: version 0, or a reserved byte is not zero"));
    }
    Ok(count)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Cursor(bytes.get(at..)?).u32()
}

fn decode(entry: &[u8; TABLE_ENTRY_LENGTH]) -> Option<Section> {
    let mut fields = Cursor(entry);
    let (kind, flags) = (fields.u32()?, fields.u32()?);
    let start = usize::try_from(fields.u64()?).ok()?;
    let end = start.checked_add(usize::try_from(fields.u64()?).ok()?)?;
    let (checksum, reserved) = (fields.u32()?, fields.u32()?);
    let known_flags = flags & !CRITICAL == 0 && reserved == 0;
    known_flags.then_some(Section {
        kind: SectionKind::from_code(kind),
        critical: flags & CRITICAL != 0,
        range: start..end,
        checksum,
    })
}
