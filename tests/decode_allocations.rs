//! A step of a search allocates nothing, and a search allocates what was planned.

#[path = "support/counting.rs"]
mod counting;
#[path = "decode/scorers.rs"]
mod scorers;

use std::cell::Cell;
use std::ops::ControlFlow;

use counting::{ALLOCATIONS, BYTES};
use scorers::HashScorer;
use siskin::decode::{
    Alignments, DecodeOptions, Observer, Request, Sampling, Scores, Search, Setup, Strategy,
};
use siskin::kernels::Kernels;

thread_local! {
    static AT_LAST_STEP: Cell<usize> = const { Cell::new(0) };
    static AT_FIRST_STEP: Cell<usize> = const { Cell::new(0) };
}

fn note_step() {
    if AT_FIRST_STEP.get() == 0 {
        AT_FIRST_STEP.set(ALLOCATIONS.get());
    }
    AT_LAST_STEP.set(ALLOCATIONS.get());
}

/// Hears everything, keeps nothing.
struct Counter(usize);

impl Observer for Counter {
    fn on_tokens(&mut self, _sentence: usize, tokens: &[u32]) -> ControlFlow<()> {
        self.0 += tokens.len();
        AT_LAST_STEP.set(ALLOCATIONS.get());
        ControlFlow::Continue(())
    }
}

fn cases() -> Vec<DecodeOptions> {
    let sampling = Sampling { top_k: 20, top_p: 0.9, temperature: 0.8, seed: 1 };
    let everything = DecodeOptions {
        max_length: 40,
        min_length: 3,
        coverage_penalty: 0.2,
        no_repeat_ngram: 2,
        repetition_penalty: 1.2,
        suppressed: vec![5],
        scores: Scores::Tokens,
        alignments: Alignments::Soft,
        ..DecodeOptions::default()
    };
    let strategies = [
        (Strategy::Greedy, 1),
        (Strategy::Beam { size: 4 }, 4),
        (Strategy::Beam { size: 16 }, 1),
        (Strategy::Sample(sampling), 3),
        (Strategy::Sample(Sampling::default()), 1),
    ];
    let with = |options: &DecodeOptions| {
        strategies.map(|(strategy, n_best)| DecodeOptions { strategy, n_best, ..options.clone() })
    };
    [with(&everything), with(&DecodeOptions { max_length: 40, ..DecodeOptions::default() })].concat()
}

#[test]
fn a_step_allocates_nothing_and_a_search_what_was_planned() {
    let kernels = Kernels::detect().unwrap();
    let setup = Setup { vocabulary: 100, end: 0, batch: 3, prefix: 3, source: 16 };
    for options in cases() {
        let planned = Search::plan(&options, setup).unwrap();
        let mine = options.clone();
        let before = BYTES.get();
        let mut search = Search::new(kernels, mine, setup).unwrap();
        assert_eq!(BYTES.get() - before, planned, "{options:?}");

        let mut scorer = HashScorer::new(100, &[(1, 4), (2, 16), (3, 1)]);
        scorer.on_step = note_step;
        let requests = [Request::new(&[1]), Request::new(&[1, 2]), Request::new(&[1, 3, 3])];
        let mut observer = Counter(0);
        AT_FIRST_STEP.set(0);
        let before = ALLOCATIONS.get();
        let found = search.run(&mut scorer, &requests, &mut observer).unwrap();
        assert_eq!(AT_FIRST_STEP.get(), before, "allocations before the first step: {options:?}");
        assert_eq!(AT_LAST_STEP.get(), before, "allocations in a step: {options:?}");
        assert!(ALLOCATIONS.get() > before, "the hypotheses themselves are allocated");
        assert!(scorer.steps > 5 && observer.0 > 5);
        assert_eq!(observer.0, found.iter().map(|found| found.hypotheses[0].tokens.len()).sum::<usize>());
    }
}
