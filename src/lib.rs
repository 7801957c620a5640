//! Siskin runs encoder-decoder Transformers on devices, offline, from one memory-mapped file: translation,
//! summarization, transliteration, spelling to phonemes and every other text-to-text task.
//!
//! ```no_run
//! use siskin::{Model, Translator};
//! use std::sync::Arc;
//!
//! let model = Arc::new(Model::open("en-de.siskin")?);
//! let mut translator = Translator::new(model)?;
//! println!("{}", translator.translate("Good morning!")?.text());
//! # Ok::<(), siskin::Error>(())
//! ```
//!
//! - A [`Model`] is one file, immutable, shared by threads. [`Model::map`] maps it: weights are multiplied where they lie.
//! - A [`Translator`] turns text into text: beams, sampling, n-best, scores, alignments, streaming, batches.
//! - A [`Session`](model::Session) runs the network itself and a [`Search`](decode::Search) decodes, for those who have
//!   token ids already.
//!
//! The same int8 model gives the same tokens and the same score bits on every CPU, in every batch and with any number of
//! threads. `docs/architecture.md` describes the layers, from [`error`] up to [`pipeline`]; without the feature `std`
//! the crate is `no_std` with `alloc`.
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod error;
pub mod tensor;
pub mod threads;

pub mod format;
pub mod kernels;
pub mod text;

pub mod model;
pub mod nn;

pub mod decode;
pub mod delegate;

pub mod pipeline;

#[cfg(feature = "learn")]
pub mod learn;

#[cfg(feature = "capi")]
mod capi;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;

pub use error::{Error, ErrorKind, Result};
pub use model::Model;
pub use pipeline::{Summarizer, TranslateOptions, Translation, Translator};
