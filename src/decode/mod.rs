//! Search: from logits, step by step, to the best hypotheses.
//!
//! A [`Search`] asks a [`Scorer`] for the logits of the next tokens and decides which hypotheses go on: the most
//! probable one ([`Strategy::Greedy`]), the best few ([`Strategy::Beam`]) or random ones ([`Strategy::Sample`]). It
//! knows neither tensors nor models. Hypotheses are back pointers into one tree of tokens, so beams reorder without
//! anything being copied, and a step allocates nothing. An [`Observer`] hears of tokens as soon as they are certain.
//!
//! `docs/decoding.md` describes the algorithms and every option.

mod beam;
mod constraints;
mod frontier;
mod history;
mod memory;
mod observer;
mod options;
mod ranking;
mod request;
mod sample;
mod scorer;
mod search;
mod state;
mod step;

pub use observer::{Observer, Unobserved};
pub use options::{Alignments, DecodeOptions, MAX_BEAM, Sampling, Scores, Setup, Strategy};
pub use request::{Ending, Hypotheses, Hypothesis, Request};
pub use scorer::Scorer;
pub use search::Search;
