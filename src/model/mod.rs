//! A model: one file, immutable, shared; and the sessions that run it.

mod adapter;
mod buffers;
mod cache;
mod candidates;
mod decoder;
mod embeddings;
mod encoder;
mod output;
mod plan;
mod screening;
mod session;
mod spec;
mod storage;
mod verification;
mod weights;

pub use adapter::{Adapter, AdapterBuilder, Reach};
pub use embeddings::Embeddings;
pub use plan::{Alignment, SessionShape, ShortlistMode};
pub use session::Session;
pub(crate) use session::{check_sources, check_step};
pub use spec::{Autoregression, ModelSpec, NormKind, Positions, Presence, Tying};
#[cfg(any(feature = "learn", feature = "gpu"))]
pub(crate) use weights::{History, Side, Weights};
pub use weights::{SchemaEntry, projections, schema};

use alloc::format;
use alloc::sync::Arc;
use core::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::format::{File, Screen, SectionKind, Shortlist};
use crate::kernels::Kernels;
use crate::nn::{Context, Origin};
use crate::tensor::AlignedBytes;
use crate::text::Vocabulary;
use crate::threads::Pool;
use plan::{Listing, Plan};
use storage::Storage;
#[cfg(not(any(feature = "learn", feature = "gpu")))]
use weights::Weights;

/// An encoder-decoder Transformer in one file.
///
/// A `Model` is immutable and may be shared by threads in an `Arc`; each [`Session`] owns what changes. Weights are
/// used where they lie in the file. [`with_adapter`](Self::with_adapter) gives another model over the same bytes.
pub struct Model {
    base: Arc<Base>,
    adapter: Option<Arc<Adapter>>,
    weights: Weights,
    kernels: &'static Kernels,
}

/// What a model and those that adapters make of it share.
struct Base {
    source_vocabulary: Option<Vocabulary<'static>>,
    target_vocabulary: Option<Vocabulary<'static>>,
    spec: ModelSpec,
    /// The shortlist's section in the file.
    shortlist: Option<Range<usize>>,
    /// That of the output projection's screen.
    screen: Option<Range<usize>>,
    has_narrow_pairs: bool,
    storage: Storage,
}

impl Model {
    /// Reads a model file into memory and verifies its checksums.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or holds a model that this version cannot run.
    #[cfg(feature = "std")]
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let (file, all) = open_file(path)?;
        Self::open_range(&file, all).map_err(|e| e.at(path.display()))
    }

    /// As [`open`](Self::open), a model that is the bytes `range` of another file: of an archive or a package. Moves
    /// the file's position.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`ErrorKind::InvalidOption`] for a range that the file does not have.
    #[cfg(feature = "std")]
    pub fn open_range(file: &std::fs::File, range: Range<u64>) -> Result<Self> {
        let storage = Storage::read(file, range)?;
        File::parse(storage.bytes())?.verify()?;
        Self::from_storage(storage)
    }

    /// Maps a model file: pages are read when they are first used and shared by all processes that map the file. The
    /// structure of the file is checked, its checksums are not (`siskin inspect --verify` checks them).
    ///
    /// # Errors
    /// As [`open`](Self::open), checksums aside.
    ///
    /// # Safety
    /// The file must not be changed or truncated while the model lives: the operating system would show the change
    /// through the mapping, or end the process at the first access behind the new end. To replace a model that may be
    /// mapped, write a new file and rename it over the old one, as [`crate::format::write_atomically`] does: the
    /// mapping keeps the old file.
    #[cfg(feature = "std")]
    #[allow(unsafe_code)]
    pub unsafe fn map(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let path = path.as_ref();
        let (file, all) = open_file(path)?;
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { Self::map_range(&file, all) }.map_err(|e| e.at(path.display()))
    }

    /// As [`map`](Self::map), a model that is the bytes `range` of another file, from a multiple of 4 on. The mapping
    /// outlives `file`.
    ///
    /// # Errors
    /// As [`open_range`](Self::open_range), checksums aside.
    ///
    /// # Safety
    /// As [`map`](Self::map).
    #[cfg(feature = "std")]
    #[allow(unsafe_code)]
    pub unsafe fn map_range(file: &std::fs::File, range: Range<u64>) -> Result<Self> {
        // SAFETY: the caller's promise is the one that is asked for.
        Self::from_storage(unsafe { Storage::map(file, range) }?)
    }

    /// A model in bytes that live as long as the program: in its read-only data or in flash, aligned to 64.
    ///
    /// # Errors
    /// As [`open`](Self::open), checksums aside.
    pub fn from_static(bytes: &'static [u8]) -> Result<Self> {
        Self::from_storage(Storage::Static(bytes))
    }

    /// A model in memory.
    ///
    /// # Errors
    /// As [`open`](Self::open), checksums aside.
    pub fn from_bytes(bytes: AlignedBytes) -> Result<Self> {
        Self::from_storage(Storage::Owned(bytes))
    }

    fn from_storage(storage: Storage) -> Result<Self> {
        let file = File::parse(storage.bytes())?;
        if file.section(SectionKind::Adapter).is_some() {
            let message = "the file is an adapter: open the model that it belongs to, and put it over that";
            return Err(Error::new(ErrorKind::Schema, message));
        }
        let spec = ModelSpec::read(&file.metadata(SectionKind::Spec))?;
        let weights = Weights::bind(&file, None, &spec)?;
        let source_vocabulary = storage.vocabulary(SectionKind::SourceVocabulary)?;
        let target_vocabulary = storage.vocabulary(SectionKind::TargetVocabulary)?;
        for (side, vocabulary, rows) in [
            ("source", &source_vocabulary, spec.source_vocabulary),
            (
                "target",
                target_vocabulary.as_ref().map_or(&source_vocabulary, |_| &target_vocabulary),
                spec.target_vocabulary,
            ),
        ] {
            if let Some(length) = vocabulary.as_ref().map(Vocabulary::len).filter(|&length| length > rows) {
                let message =
                    format!("the {side} vocabulary has {length} tokens, the embeddings have {rows} rows");
                return Err(Error::new(ErrorKind::Schema, message));
            }
        }
        if let Some(shortlist) = file.shortlist() {
            check_shortlist(&shortlist, &spec)?;
        }
        if let Some(screen) = file.screen() {
            check_screen(&screen, &file, &weights)?;
        }
        let range = |kind| file.sections().find(|section| section.kind == kind).map(|section| section.range);
        let (shortlist, screen) = (range(SectionKind::Shortlist), range(SectionKind::Screen));
        let has_narrow_pairs = file.has_narrow_pairs();
        let kernels = Kernels::detect()?.for_pairs(has_narrow_pairs);
        let base =
            Base { source_vocabulary, target_vocabulary, spec, shortlist, screen, has_narrow_pairs, storage };
        Ok(Self { base: Arc::new(base), adapter: None, weights, kernels })
    }

    /// The same model with an adapter, in place of the one that it has. Both share the model's bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if the adapter was made for another model, or its tensors do not fit this one.
    pub fn with_adapter(&self, adapter: Arc<Adapter>) -> Result<Self> {
        let file = File::parse(self.bytes())?;
        let overlay = adapter.file_for(&file)?;
        let weights = Weights::bind(&file, Some(&overlay), self.spec())?;
        Ok(Self { base: Arc::clone(&self.base), adapter: Some(adapter), weights, kernels: self.kernels })
    }

    /// The same model without its adapter.
    ///
    /// # Errors
    /// None that opening the model did not give.
    pub fn without_adapter(&self) -> Result<Self> {
        let weights = Weights::bind(&File::parse(self.bytes())?, None, self.spec())?;
        Ok(Self { base: Arc::clone(&self.base), adapter: None, weights, kernels: self.kernels })
    }

    /// The adapter in force.
    pub fn adapter(&self) -> Option<&Arc<Adapter>> {
        self.adapter.as_ref()
    }

    /// The same model on other kernels of this CPU: for tests and comparisons.
    #[must_use]
    pub fn with_kernels(self, kernels: &'static Kernels) -> Self {
        Self { kernels: kernels.for_pairs(self.base.has_narrow_pairs), ..self }
    }

    /// What the model is made of.
    pub fn spec(&self) -> &ModelSpec {
        &self.base.spec
    }

    /// The source side's vocabulary, if the file has one.
    pub fn source_vocabulary(&self) -> Option<&Vocabulary<'_>> {
        self.base.source_vocabulary.as_ref()
    }

    /// The target side's vocabulary, if the file has one: its own, or the source side's.
    pub fn target_vocabulary(&self) -> Option<&Vocabulary<'_>> {
        self.base.target_vocabulary.as_ref().or(self.source_vocabulary())
    }

    /// The lexical shortlist, if the file has one.
    pub fn shortlist(&self) -> Option<Shortlist<'_>> {
        Shortlist::parse(self.bytes().get(self.base.shortlist.clone()?)?).ok()
    }

    /// The screen of the output projection, if the file has one.
    pub fn screen(&self) -> Option<Screen<'_>> {
        Screen::parse(self.bytes().get(self.base.screen.clone()?)?).ok()
    }

    /// The screen, where its products are built in and no adapter has replaced the matrix that it is of.
    fn screen_in_force(&self) -> Option<Screen<'_>> {
        let in_force = cfg!(feature = "int4") && self.weights.output.weight.origin == Origin::Model;
        self.screen().filter(|_| in_force)
    }

    /// The kernels that it runs on.
    pub fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// The model file's bytes.
    pub fn bytes(&self) -> &[u8] {
        self.base.storage.bytes()
    }

    /// Bytes that a session of `shape` allocates: never fewer than it does, and at most a tenth more. The stacks of
    /// worker threads are the system's and not among them.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidOption`] for a shape of nothing, and for a shortlist that the file does not have;
    /// [`ErrorKind::InputTooLong`] for lengths beyond the model's positions.
    pub fn plan(&self, shape: &SessionShape) -> Result<u64> {
        Ok(self.session_plan(shape)?.bytes())
    }

    fn session_plan(&self, shape: &SessionShape) -> Result<Plan> {
        let listing = match shape.shortlist {
            ShortlistMode::Off => None,
            ShortlistMode::On | ShortlistMode::Verify => {
                let shortlist = self.shortlist().ok_or_else(|| {
                    let message = "the model file has no shortlist: `siskin-export shortlist` adds one";
                    Error::new(ErrorKind::InvalidOption, message)
                })?;
                let dtype = self.weights.output.weight.tensor.dtype;
                Some(Listing::new(self.spec(), dtype, &shortlist, shape.source_length))
            }
        };
        Plan::new(self.spec(), shape, listing, self.weights.rank)
    }

    #[cfg(any(feature = "learn", feature = "gpu"))]
    pub(crate) fn weights(&self) -> &Weights {
        &self.weights
    }

    pub(crate) fn context<'a>(&'a self, pool: &'a Pool) -> Context<'a> {
        let adapter = self.adapter.as_ref().map_or(&[][..], |adapter| adapter.bytes());
        Context { bytes: self.bytes(), adapter, kernels: self.kernels, pool }
    }
}

/// The file at `path`, and all its bytes.
#[cfg(feature = "std")]
fn open_file(path: &std::path::Path) -> Result<(std::fs::File, Range<u64>)> {
    let fail = |doing: &str, e| Error::io(format!("cannot {doing} {}", path.display()), e);
    let file = std::fs::File::open(path).map_err(|e| fail("open", e))?;
    let size = file.metadata().map_err(|e| fail("read", e))?.len();
    Ok((file, 0..size))
}

/// The lists are those of this model's vocabularies, and a hypothesis can always end.
fn check_shortlist(shortlist: &Shortlist<'_>, spec: &ModelSpec) -> Result<()> {
    let listed = (shortlist.source_vocabulary(), shortlist.target_vocabulary());
    let vocabularies = (spec.source_vocabulary, spec.target_vocabulary);
    if listed != vocabularies || !shortlist.always().contains(spec.end) {
        let message = format!(
            "the shortlist is of vocabularies of {listed:?} tokens, the model has {vocabularies:?}; or it does not \
             always list the end token {}",
            spec.end
        );
        return Err(Error::new(ErrorKind::Schema, message));
    }
    Ok(())
}

/// The screen is of the output projection.
fn check_screen(screen: &Screen<'_>, file: &File<'_>, weights: &Weights) -> Result<()> {
    let output = &weights.output.weight.tensor;
    let fits = file.tensors().get(screen.tensor()).as_ref() == Some(output)
        && screen.rough_copy_of(&output.matrix(file.bytes())).is_some();
    if fits {
        return Ok(());
    }
    let message = format!("the screen is of {:?}, which is no output projection of int8", screen.tensor());
    Err(Error::new(ErrorKind::Schema, message))
}
