//! Adapters: what was learned over a model, in a file of its own.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

#[cfg(feature = "std")]
use super::open_file;
use super::storage::Storage;
use super::{Model, schema};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{
    File, Fingerprint, Layout, Lesson, Lessons, List, Metadata, MetadataBuilder, SectionKind, Writer,
    lessons_section,
};
use crate::tensor::{AlignedBytes, Dtype, PackedMatrix};

/// An adapter file: tensors that take the place of a model's, and low-rank terms beside its matrices.
///
/// [`Model::with_adapter`] puts it over its model. It holds the checksums of what that model computes with, so that it
/// cannot come over another one by mistake.
pub struct Adapter {
    storage: Storage,
    base: Fingerprint,
    version: u32,
    reach: Reach,
}

/// Which sources a [`Translator`](crate::Translator) uses an adapter for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// All.
    #[default]
    Everywhere,
    /// Those that have the source of one of its [terms](Adapter::terms): every other comes out as without it, to the bit.
    Terms,
}

const KEYS: &[&str] = &["base", "version", "reach"];

const REACHES: &[(&str, Reach)] = &[("everywhere", Reach::Everywhere), ("terms", Reach::Terms)];

impl Adapter {
    /// Reads an adapter file into memory and verifies its checksums.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or is no adapter.
    #[cfg(feature = "std")]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let (file, range) = open_file(path)?;
        let read = || {
            let storage = Storage::read(&file, range)?;
            File::parse(storage.bytes())?.verify()?;
            Self::from_storage(storage)
        };
        read().map_err(|e| e.at(path.display()))
    }

    /// Maps an adapter file, as [`Model::map`] maps a model.
    ///
    /// # Errors
    /// As [`open`](Self::open), checksums aside.
    ///
    /// # Safety
    /// As [`Model::map`].
    #[cfg(feature = "std")]
    #[allow(unsafe_code)]
    pub unsafe fn map(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let (file, range) = open_file(path)?;
        // SAFETY: the caller's promise is the one that is asked for.
        let storage = unsafe { Storage::map(&file, range) };
        storage.and_then(Self::from_storage).map_err(|e| e.at(path.display()))
    }

    /// An adapter in memory.
    ///
    /// # Errors
    /// As [`open`](Self::open), checksums aside.
    pub fn from_bytes(bytes: AlignedBytes) -> Result<Self> {
        Self::from_storage(Storage::Owned(bytes))
    }

    fn from_storage(storage: Storage) -> Result<Self> {
        let file = File::parse(storage.bytes())?;
        let metadata: Metadata<'_> = match file.section(SectionKind::Adapter) {
            Some(_) => file.metadata(SectionKind::Adapter),
            None => return Err(Error::new(ErrorKind::Schema, "the file is a model and no adapter")),
        };
        metadata.refuse_unknown(KEYS)?;
        let listed: Vec<u32> = metadata.require::<List<'_, u32>>("base")?.iter().take(64).collect();
        let base = listed.try_into().map_err(|_| {
            Error::new(ErrorKind::Schema, "section adapter: `base` is no fingerprint of a model")
        })?;
        let version = metadata.optional("version")?.unwrap_or(0);
        let reach = match metadata.get("reach") {
            Some(_) => metadata.choice("reach", REACHES)?,
            None => Reach::default(),
        };
        Ok(Self { storage, base, version, reach })
    }

    /// Which sources it is used for.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// How often what it holds was changed; every version has a number of its own.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The corrections that it was learned from, oldest first.
    pub fn lessons(&self) -> impl Iterator<Item = Lesson<'_>> {
        let lessons: Option<Lessons<'_>> = File::parse(self.bytes()).ok().and_then(|file| file.lessons());
        lessons.into_iter().flat_map(|lessons| lessons.iter())
    }

    /// The words of sources that it was taught a word of the target for.
    pub fn terms(&self) -> impl Iterator<Item = Lesson<'_>> {
        let terms: Option<Lessons<'_>> = File::parse(self.bytes()).ok().and_then(|file| file.terms());
        terms.into_iter().flat_map(|terms| terms.iter())
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.storage.bytes()
    }

    /// Its file, if it was made for the model in `model`.
    pub(super) fn file_for(&self, model: &File<'_>) -> Result<File<'_>> {
        if model.fingerprint() != self.base {
            let message = "the adapter was made for another model: it fits only the model file that it was learned \
                           over, whatever its card and golden sentences";
            return Err(Error::new(ErrorKind::Schema, message));
        }
        File::parse(self.bytes())
    }
}

/// Collects the tensors of an adapter file. The same content gives the same bytes.
pub struct AdapterBuilder<'a> {
    base: Fingerprint,
    version: u32,
    /// Tensors of the model that are plain rows, by name.
    plain: BTreeSet<String>,
    rows: Vec<(&'a str, Vec<usize>, &'a [f32])>,
    matrices: Vec<(&'a str, PackedMatrix)>,
    lessons: Option<Vec<u8>>,
    reach: Reach,
    terms: Option<Vec<u8>>,
}

impl<'a> AdapterBuilder<'a> {
    /// An empty adapter for `model`, of the given version.
    ///
    /// # Errors
    /// Those of [`File::parse`].
    pub fn new(model: &Model, version: u32) -> Result<Self> {
        let base = File::parse(model.bytes())?.fingerprint();
        let plain = schema(model.spec()).into_iter().filter(|entry| entry.layout == Layout::Rows);
        let plain = plain.map(|entry| entry.name).collect();
        Ok(Self {
            base,
            version,
            plain,
            rows: Vec::new(),
            matrices: Vec::new(),
            lessons: None,
            reach: Reach::Everywhere,
            terms: None,
        })
    }

    /// Adds a tensor: one that takes the place of the model's tensor of this name, or `lora_a` or `lora_b` of a
    /// projection. `values` are row-major; matrices are stored as f32 panels.
    ///
    /// # Errors
    /// [`ErrorKind::NonFinite`] for a value that is not a number.
    ///
    /// # Panics
    /// If the number of values is not the product of `shape`, or a matrix has not two dimensions.
    pub fn tensor(&mut self, name: &'a str, shape: &[usize], values: &'a [f32]) -> Result<&mut Self> {
        if self.plain.contains(name) {
            if values.iter().any(|value| !value.is_finite()) {
                return Err(Error::new(
                    ErrorKind::NonFinite,
                    format!("{name} has a value that is not a number"),
                ));
            }
            self.rows.push((name, shape.to_vec(), values));
        } else {
            let packed =
                PackedMatrix::pack(Dtype::F32, shape[0], shape[1], values).map_err(|e| e.at(name))?;
            self.matrices.push((name, packed));
        }
        Ok(self)
    }

    /// Sets the corrections that it was learned from.
    pub fn lessons<'l>(&mut self, lessons: impl IntoIterator<Item = Lesson<'l>>) -> &mut Self {
        self.lessons = Some(lessons_section(lessons));
        self
    }

    /// Sets which sources it is used for, and the words of sources with the words of targets that it was taught for them.
    pub fn terms<'l>(&mut self, reach: Reach, terms: impl IntoIterator<Item = Lesson<'l>>) -> &mut Self {
        self.reach = reach;
        self.terms = Some(lessons_section(terms));
        self
    }

    /// The bytes of the file.
    pub fn build(&self) -> Vec<u8> {
        let mut metadata = MetadataBuilder::new();
        metadata.critical("base", &self.base[..]).optional("version", self.version);
        if self.reach != Reach::Everywhere {
            metadata.critical("reach", "terms");
        }
        let mut writer = Writer::new();
        writer.critical(SectionKind::Adapter, metadata.build());
        if let Some(lessons) = &self.lessons {
            writer.optional(SectionKind::Lessons, lessons.as_slice());
        }
        if let Some(terms) = &self.terms {
            writer.optional(SectionKind::Terms, terms.as_slice());
        }
        for (name, shape, values) in &self.rows {
            writer.rows(name, shape, values);
        }
        for (name, matrix) in &self.matrices {
            writer.matrix(name, matrix.view());
        }
        writer.finish()
    }
}
