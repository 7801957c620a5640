//! The search over scorers without a model, against oracles that enumerate or copy what the search is clever about.

mod beam;
mod constraints;
mod errors;
mod highest;
mod oracle;
mod sampling;
mod scorers;
mod streaming;

use siskin::decode::{DecodeOptions, Hypotheses, Request, Scorer, Search, Setup, Strategy, Unobserved};
use siskin::kernels::Kernels;

const END: u32 = 0;
const START: u32 = 1;

fn setup(vocabulary: usize) -> Setup {
    Setup { vocabulary, end: END, batch: 8, prefix: 4, source: 16 }
}

fn kernels() -> &'static Kernels {
    Kernels::detect().unwrap()
}

fn beam(size: usize) -> DecodeOptions {
    DecodeOptions { strategy: Strategy::Beam { size }, ..DecodeOptions::default() }
}

/// Runs a new search over `scorer`.
fn run(options: &DecodeOptions, scorer: &mut impl Scorer, requests: &[Request]) -> Vec<Hypotheses> {
    let mut search = Search::new(kernels(), options.clone(), setup(scorer.vocabulary())).unwrap();
    search.run(scorer, requests, &mut Unobserved).unwrap()
}
