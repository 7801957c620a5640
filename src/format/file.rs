//! A model file, opened: the sections by what they hold.

use super::section::{Section, SectionKind, SectionTable};
use super::{Golden, Lessons, MAGIC, Metadata, Screen, Shortlist, TensorIndex, VERSION, Value};
use crate::error::{Error, ErrorKind, Result};
use core::mem::align_of;

/// A model file whose structure was checked, borrowed from its bytes.
#[derive(Clone, Debug)]
pub struct File<'a> {
    bytes: &'a [u8],
    table: SectionTable<'a>,
    tensors: TensorIndex<'a>,
}

impl<'a> File<'a> {
    /// Checks the structure of `bytes`, a whole file whose first byte lies at an address that is a multiple of 4 (of
    /// 64 for speed; [`AlignedBytes`](crate::tensor::AlignedBytes) and mappings do).
    ///
    /// Allocates nothing and reads neither vocabularies nor lists nor weights: those are checked by
    /// [`verify`](Self::verify).
    ///
    /// # Errors
    /// [`ErrorKind::NotAModel`], [`ErrorKind::NewerVersion`] and [`ErrorKind::Corrupt`] by what the bytes are;
    /// [`ErrorKind::InvalidOption`] if their address is not aligned.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        if !bytes.as_ptr().addr().is_multiple_of(align_of::<f32>()) {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                "the model's bytes begin at an address that is not a multiple of 4: copy them to `AlignedBytes`",
            ));
        }
        let table = SectionTable::parse(bytes)?;
        let mut file = Self { bytes, table, tensors: TensorIndex::empty() };
        let data =
            table.find(SectionKind::TensorData).map_or(bytes.len()..bytes.len(), |section| section.range);
        if let Some(index) = file.section(SectionKind::TensorIndex) {
            file.tensors = TensorIndex::parse(index, data)?;
        } else if !data.is_empty() {
            return Err(super::corrupt("tensor data without a tensor index"));
        }
        for (kind, name) in METADATA {
            file.section(kind).map(|bytes| Metadata::parse(bytes, name)).transpose()?;
        }
        file.section(SectionKind::Golden).map(Golden::parse).transpose()?;
        file.section(SectionKind::Shortlist).map(Shortlist::parse).transpose()?;
        file.section(SectionKind::Screen).map(Screen::parse).transpose()?;
        for kind in [SectionKind::Lessons, SectionKind::Terms] {
            file.section(kind).map(Lessons::parse).transpose()?;
        }
        Ok(file)
    }

    /// The whole file.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The version of the format that the file was written in.
    pub fn version(&self) -> u16 {
        let bytes = self.bytes.get(MAGIC.len()..).and_then(|rest| rest.first_chunk());
        bytes.map_or(VERSION, |&bytes| u16::from_le_bytes(bytes))
    }

    /// The section table, in the order of the file.
    pub fn sections(&self) -> impl Iterator<Item = Section> + Clone + use<'a> {
        self.table.iter()
    }

    /// The bytes of the section of `kind`, if the file has one.
    pub fn section(&self, kind: SectionKind) -> Option<&'a [u8]> {
        self.bytes.get(self.table.find(kind)?.range)
    }

    /// The bytes of the section of `kind`.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if the file has none.
    pub fn require(&self, kind: SectionKind) -> Result<&'a [u8]> {
        self.section(kind).ok_or_else(|| {
            Error::new(
                ErrorKind::Schema,
                alloc::format!("the file has no section {kind}; import the model again"),
            )
        })
    }

    /// Checksum and length of every section that decides what the model computes: spec, vocabularies and weights; zeros
    /// for one that it lacks. It tells models apart that differ by chance, not those that were made to deceive.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut numbers = Fingerprint::default();
        for (numbers, kind) in numbers.chunks_exact_mut(2).zip(COMPUTED) {
            if let Some(section) = self.table.find(kind) {
                numbers.copy_from_slice(&[section.checksum, section.range.len() as u32]);
            }
        }
        numbers
    }

    /// The metadata section of `kind`: spec, generation, card, receipt or adapter. One that the file lacks has no entries.
    ///
    /// # Panics
    /// If sections of that kind are not metadata.
    pub fn metadata(&self, kind: SectionKind) -> Metadata<'a> {
        let (_, name) =
            METADATA.into_iter().find(|(known, _)| *known == kind).expect("a kind that is metadata");
        let parsed = self.section(kind).and_then(|bytes| Metadata::parse(bytes, name).ok());
        parsed.unwrap_or_else(|| Metadata::empty(name))
    }

    /// Whether the file says that all its int8 matrices [have narrow pairs](crate::tensor::Matrix::has_narrow_pairs).
    pub fn has_narrow_pairs(&self) -> bool {
        matches!(self.metadata(SectionKind::WeightRanges).get(INT8_PAIRS), Some(Value::Text(NARROW)))
    }

    /// The golden sentences, if the file has some.
    pub fn golden(&self) -> Option<Golden<'a>> {
        Golden::parse(self.section(SectionKind::Golden)?).ok()
    }

    /// The lexical shortlist, if the file has one.
    pub fn shortlist(&self) -> Option<Shortlist<'a>> {
        Shortlist::parse(self.section(SectionKind::Shortlist)?).ok()
    }

    /// The screen of the output projection, if the file has one.
    pub fn screen(&self) -> Option<Screen<'a>> {
        Screen::parse(self.section(SectionKind::Screen)?).ok()
    }

    /// The lessons that an adapter was learned from, if it says so.
    pub fn lessons(&self) -> Option<Lessons<'a>> {
        Lessons::parse(self.section(SectionKind::Lessons)?).ok()
    }

    /// The terms of an adapter's lessons, if it says so.
    pub fn terms(&self) -> Option<Lessons<'a>> {
        Lessons::parse(self.section(SectionKind::Terms)?).ok()
    }

    /// The tensors.
    pub fn tensors(&self) -> &TensorIndex<'a> {
        &self.tensors
    }
}

/// What [`File::fingerprint`] gives.
pub type Fingerprint = [u32; 10];

/// A fingerprint in hexadecimal digits.
pub fn spell_fingerprint(fingerprint: &Fingerprint) -> alloc::string::String {
    fingerprint.iter().map(|number| alloc::format!("{number:08x}")).collect()
}

/// The sections that decide what a model computes.
const COMPUTED: [SectionKind; 5] = [
    SectionKind::Spec,
    SectionKind::SourceVocabulary,
    SectionKind::TargetVocabulary,
    SectionKind::TensorIndex,
    SectionKind::TensorData,
];

/// The key and the value of [`SectionKind::WeightRanges`] that say so.
pub(super) const INT8_PAIRS: &str = "int8_pairs";
pub(super) const NARROW: &str = "narrow";

const METADATA: [(SectionKind, &str); 7] = [
    (SectionKind::Spec, "spec"),
    (SectionKind::Generation, "generation"),
    (SectionKind::Card, "card"),
    (SectionKind::Receipt, "receipt"),
    (SectionKind::Adapter, "adapter"),
    (SectionKind::Course, "course"),
    (SectionKind::WeightRanges, "weight ranges"),
];
