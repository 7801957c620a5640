//! Delegates: the same model on what else a device has, an NPU, a GPU, or another runtime.
//!
//! A [`Delegate`] makes an [`Engine`] of a model, which runs the encoder and the steps of the decoder. The host does what
//! is cheap and what accelerators get wrong: it looks up embeddings and positions ([`Embeddings`]), checks tokens, and
//! searches. The model's own [`Session`](crate::model::Session) stays the default and the oracle: an engine is only handed
//! out as a [`Compiled`] one, after a [`SelfTest`] in which its logits were those of a session, within a bound. Drivers are
//! known to give wrong numbers without an error.
//!
//! ```
//! use siskin::delegate;
//!
//! for name in delegate::names() {
//!     match delegate::named(&name, &[])?.probe() {
//!         Ok(probe) => println!("{name}: {}", probe.version),
//!         Err(error) => println!("{name}: not here: {error}"),
//!     }
//! }
//! # Ok::<(), siskin::Error>(())
//! ```
//!
//! `docs/delegates.md` says which to choose on which device.

#[cfg(any(feature = "ort", feature = "cli"))]
mod cache_folder;
mod compiled;
mod cpu;
#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(any(feature = "ort", feature = "tflite"))]
mod graph_inputs;
#[cfg(feature = "ort")]
pub mod ort;
mod registry;
mod self_test;
#[cfg(feature = "tflite")]
pub mod tflite;

pub use crate::model::Embeddings;
#[cfg(any(feature = "ort", feature = "cli"))]
pub(crate) use cache_folder::cache_folder;
pub use compiled::Compiled;
pub use cpu::Cpu;
pub use registry::{Missing, Setting, missing, named, names};
pub use self_test::{SelfTest, TOLERANCE};

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::model::{Alignment, Model, SessionShape, ShortlistMode};

/// A way to run models: a runtime with one of its providers, or a kind of device.
pub trait Delegate: Send + Sync {
    /// How users name it, such as `ort:openvino`.
    fn name(&self) -> &str;

    /// What is here: looked up without a model, and cheap.
    ///
    /// # Errors
    /// [`ErrorKind::Delegate`] with the reason why it cannot run here.
    fn probe(&self) -> Result<Probe>;

    /// An engine for batches of at most `shape`, warm and not yet tested; users call
    /// [`compile`](trait.Delegate.html#method.compile). `shape` asks neither for alignments nor for a shortlist.
    ///
    /// # Errors
    /// [`ErrorKind::Delegate`] if it is not here or cannot run this model.
    fn build(&self, model: &Arc<Model>, shape: &SessionShape) -> Result<Box<dyn Engine>>;
}

impl dyn Delegate + '_ {
    /// An engine for batches of at most `shape` that has passed the [`SelfTest`].
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidOption`] for what no delegate can do: an adapter over the model, attention weights, logits of
    ///   listed tokens only;
    /// - [`ErrorKind::Delegate`] if it is not here, cannot run this model, or gives wrong numbers, with the numbers.
    pub fn compile(&self, model: &Arc<Model>, shape: &SessionShape) -> Result<Compiled> {
        let refused = if model.adapter().is_some() {
            Some("runs a model without an adapter: leave the adapter out, or run on the CPU")
        } else if shape.shortlist != ShortlistMode::Off {
            Some("scores the whole vocabulary: switch the shortlist off")
        } else if shape.alignments == Alignment::Keep {
            Some("gives no attention weights: alignments and the coverage penalty need the CPU")
        } else {
            None
        };
        let name = self.name();
        if let Some(refused) = refused {
            return Err(Error::new(
                ErrorKind::InvalidOption,
                alloc::format!("the delegate {name} {refused}"),
            ));
        }
        let named = |error: Error| error.at(format_args!("delegate {name}"));
        let engine = self.build(model, shape).map_err(named)?;
        Compiled::new(model, *shape, engine).map_err(named)
    }
}

/// What a delegate found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// The library or interface and its version.
    pub version: String,
    /// The devices that it can run on.
    pub devices: Vec<String>,
}

/// Runs the layers of a model. It owns its caches and has one batch at a time.
///
/// Engines are called by [`Compiled`], which checks every argument first: tokens are in their vocabulary, and batches and
/// steps are within the shape that the engine was built for.
pub trait Engine: Send + Sync {
    /// Encodes a batch of source sentences, of at least one token each, and whatever of the memory the steps need.
    ///
    /// # Errors
    /// [`ErrorKind::Delegate`] if the computation fails.
    fn encode(&mut self, sources: &[&[u32]]) -> Result<()>;

    /// Empties the caches for a search over the batch that was encoded; it can be called again for another search.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    fn start(&mut self) -> Result<()>;

    /// Computes the logits behind each row's token.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    fn step(&mut self, step: &Step<'_>) -> Result<()>;

    /// The logits of the last step [M, V], which the search may change in place.
    fn logits(&mut self) -> &mut [f32];

    /// Where what ran.
    fn placement(&self) -> Placement;
}

/// A step of the decoder, M rows.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The last token of each row \[M\].
    pub tokens: &'a [u32],
    /// The row of the step before that each row continues \[M\]: it inherits that row's caches. At the first step it is
    /// the row's sentence. Rows may come in any order, more than one may have the same parent, and a row may have none.
    pub parents: &'a [u32],
    /// The sentence of the batch that each row belongs to \[M\].
    pub sentences: &'a [u32],
    /// Position of the tokens: 0 at the first step.
    pub position: usize,
}

/// Which part runs where, and what a step moves between host and device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Where the encoder runs.
    pub encoder: String,
    /// Where the steps of the decoder run.
    pub decoder: String,
    /// Bytes that the last step copied to the device.
    pub to_device: u64,
    /// Bytes that the last step copied from it.
    pub from_device: u64,
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { encoder, decoder, to_device, from_device } = self;
        write!(
            f,
            "encoder on {encoder}, decoder on {decoder}, embeddings and search on the host; a step copies {to_device} \
             bytes there and {from_device} back"
        )
    }
}

/// An [`ErrorKind::Delegate`] error.
pub(crate) fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Delegate, message)
}
