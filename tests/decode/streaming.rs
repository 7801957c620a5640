//! What an observer hears, and cancelling.

use std::ops::ControlFlow;

use siskin::ErrorKind;
use siskin::decode::{DecodeOptions, Observer, Request, Sampling, Search, Strategy};

use super::scorers::{HashScorer, mix};
use super::{START, beam, kernels, setup};

/// Notes what it hears and after how many steps; breaks at a step or with a sentence's first tokens.
#[derive(Default)]
struct Notes {
    heard: Vec<(usize, Vec<u32>, usize)>,
    steps: usize,
    break_at_step: Option<usize>,
}

impl Observer for Notes {
    fn on_tokens(&mut self, sentence: usize, tokens: &[u32]) -> ControlFlow<()> {
        assert!(!tokens.is_empty());
        self.heard.push((sentence, tokens.to_vec(), self.steps));
        ControlFlow::Continue(())
    }

    fn on_step(&mut self) -> ControlFlow<()> {
        self.steps += 1;
        if self.break_at_step == Some(self.steps) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

#[test]
fn what_was_told_is_the_best_hypothesis() {
    let (mut early, mut told) = (0, 0);
    for seed in 0..600 {
        let choose = |salt: u64, n: usize| mix(seed ^ salt << 40) as usize % n;
        let size = 1 + choose(1, 6);
        let strategy = match choose(2, 4) {
            0 => Strategy::Greedy,
            1 => Strategy::Sample(Sampling { seed, ..Sampling::default() }),
            _ => Strategy::Beam { size },
        };
        let options = DecodeOptions {
            strategy,
            n_best: if strategy == Strategy::Greedy { 1 } else { 1 + choose(3, size) },
            max_length: 1 + choose(4, 20),
            length_penalty: [0.0, 0.5, 1.0, 2.0][choose(5, 4)],
            coverage_penalty: [0.0, 0.5][choose(6, 2)],
            ..DecodeOptions::default()
        };
        let sentences = [(seed, 4), (seed + 1000, 2), (seed + 2000, 9)];
        let mut scorer = HashScorer::new(4 + choose(7, 30), &sentences);
        scorer.end_bias = choose(8, 4) as f32;
        let mut notes = Notes::default();
        let requests = [Request::new(&[START]), Request::new(&[START, 2]), Request::new(&[2])];
        let mut search = Search::new(kernels(), options.clone(), setup(scorer.vocabulary)).unwrap();
        let found = search.run(&mut scorer, &requests, &mut notes).unwrap();
        for (sentence, found) in found.iter().enumerate() {
            let heard = notes.heard.iter().filter(|(of, ..)| *of == sentence);
            let tokens: Vec<u32> = heard.clone().flat_map(|(_, tokens, _)| tokens.clone()).collect();
            assert_eq!(tokens, found.hypotheses[0].tokens, "{options:?}, seed {seed}");
            if let Strategy::Beam { .. } = strategy {
                told += tokens.len();
                early += heard
                    .filter(|(.., step)| *step < notes.steps)
                    .map(|(_, tokens, _)| tokens.len())
                    .sum::<usize>();
            }
        }
    }
    assert!(early * 4 > told, "only {early} of {told} tokens were told before the end");
}

#[test]
fn greedy_search_and_a_sample_tell_every_token_at_its_step() {
    for strategy in [Strategy::Greedy, Strategy::Sample(Sampling::default())] {
        let options = DecodeOptions { strategy, max_length: 12, ..DecodeOptions::default() };
        let mut scorer = HashScorer::new(40, &[(7, 4)]);
        let mut notes = Notes::default();
        let mut search = Search::new(kernels(), options, setup(40)).unwrap();
        search.run(&mut scorer, &[Request::new(&[START])], &mut notes).unwrap();
        assert!(notes.heard.len() > 3);
        for (place, (_, tokens, step)) in notes.heard.iter().enumerate() {
            assert_eq!((tokens.len(), *step), (1, place + 1));
        }
    }
}

#[test]
fn an_observer_cancels_before_the_next_step() {
    let mut scorer = HashScorer::new(40, &[(7, 4)]);
    scorer.end_bias = -20.0;
    let mut search = Search::new(kernels(), beam(4), setup(40)).unwrap();
    let mut notes = Notes { break_at_step: Some(4), ..Notes::default() };
    let error = search.run(&mut scorer, &[Request::new(&[START])], &mut notes).unwrap_err();
    assert_eq!((error.kind(), scorer.steps), (ErrorKind::Cancelled, 3));

    scorer.restart();
    let mut search = Search::new(kernels(), DecodeOptions::default(), setup(40)).unwrap();
    let mut count = 0;
    let mut third = |_: usize, _: &[u32]| {
        count += 1;
        if count == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let error = search.run(&mut scorer, &[Request::new(&[START])], &mut third).unwrap_err();
    assert_eq!((error.kind(), scorer.steps), (ErrorKind::Cancelled, 3));
}
