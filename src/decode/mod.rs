//! Search: from logits, step by step, to the best hypotheses.
//!
//! A [`Search`] asks a [`Scorer`] for the logits of the next tokens and decides which hypotheses go on: the most
//! probable one ([`Strategy::Greedy`]), the best few ([`Strategy::Beam`]) or random ones ([`Strategy::Sample`]). It
//! knows neither tensors nor models. Hypotheses are back pointers into one tree of tokens, so beams reorder without
//! anything being copied, and a step allocates nothing. An [`Observer`] hears of tokens as soon as they are certain.
//!
//! ```
//! use siskin::decode::{DecodeOptions, Logits, Request, Scorer, Search, Setup, Strategy, Unobserved};
//! use siskin::kernels::Kernels;
//!
//! /// After each token the one above it, up to the end token 3.
//! struct Count([f32; 16]);
//!
//! impl Scorer for Count {
//!     fn vocabulary(&self) -> usize {
//!         4
//!     }
//!
//!     fn step(&mut self, tokens: &[u32], _parents: &[u32]) -> siskin::Result<()> {
//!         for (logits, token) in self.0.chunks_mut(4).zip(tokens) {
//!             logits.fill(0.0);
//!             logits[*token as usize + 1] = 5.0;
//!         }
//!         Ok(())
//!     }
//!
//!     fn logits(&mut self, rows: std::ops::Range<usize>) -> Logits<'_> {
//!         Logits::full(&mut self.0[4 * rows.start..4 * rows.end], 4)
//!     }
//!
//!     fn attention(&self, _row: usize) -> Option<&[f32]> {
//!         None
//!     }
//! }
//!
//! let options = DecodeOptions { strategy: Strategy::Beam { size: 4 }, ..DecodeOptions::default() };
//! let setup = Setup { vocabulary: 4, end: 3, batch: 1, prefix: 1, source: 0 };
//! let mut search = Search::new(Kernels::detect()?, options, setup)?;
//! let found = search.run(&mut Count([0.0; 16]), &[Request::new(&[0])], &mut Unobserved)?;
//! assert_eq!(found[0].hypotheses[0].tokens, [1, 2]);
//! # Ok::<(), siskin::Error>(())
//! ```
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
mod terms;

pub use observer::{Observer, Unobserved};
pub use options::{Alignments, DecodeOptions, MAX_BEAM, Sampling, Scores, Setup, Strategy};
pub use request::{Ending, Hypotheses, Hypothesis, Request, Scope};
pub use scorer::{Columns, Logits, Scorer};
pub use search::Search;
pub(crate) use search::cancelled;
