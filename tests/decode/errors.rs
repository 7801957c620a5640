//! Bad requests and damaged logits give typed errors that name the place.

use std::ops::Range;

use siskin::decode::{
    Alignments, DecodeOptions, Logits, Request, Sampling, Scorer, Scores, Search, Setup, Strategy, Unobserved,
};
use siskin::{Error, ErrorKind, Result};

use super::scorers::{ConstantScorer, HashScorer};
use super::{END, START, beam, kernels, setup};

fn strategies() -> [Strategy; 3] {
    [
        Strategy::Greedy,
        Strategy::Beam { size: 3 },
        Strategy::Sample(Sampling { top_k: 2, top_p: 0.5, ..Sampling::default() }),
    ]
}

fn fail(options: DecodeOptions, scorer: &mut impl Scorer, requests: &[Request]) -> (ErrorKind, String) {
    let mut search = Search::new(kernels(), options, setup(4)).unwrap();
    let error: Error = search.run(scorer, requests, &mut Unobserved).unwrap_err();
    (error.kind(), error.to_string())
}

/// Logits that go bad for the second sentence at step 2.
struct Damaged(HashScorer, f32);

impl Scorer for Damaged {
    fn vocabulary(&self) -> usize {
        4
    }

    fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<()> {
        let steps = self.0.steps;
        self.0.step(tokens, parents)?;
        if steps == 2 {
            self.0.logits(tokens.len() / 2..tokens.len()).values.fill(self.1);
        }
        Ok(())
    }

    fn logits(&mut self, rows: Range<usize>) -> Logits<'_> {
        self.0.logits(rows)
    }

    fn attention(&self, _row: usize) -> Option<&[f32]> {
        None
    }
}

#[test]
fn damaged_logits_name_sentence_and_step() {
    for strategy in strategies() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for scores in [Scores::Skip, Scores::Total] {
                let mut scorer = HashScorer::new(4, &[(1, 1), (2, 1)]);
                scorer.end_bias = -30.0;
                let options = DecodeOptions { strategy, scores, ..DecodeOptions::default() };
                let requests = [Request::new(&[START]); 2];
                let (kind, message) = fail(options, &mut Damaged(scorer, bad), &requests);
                assert_eq!(kind, ErrorKind::NonFinite, "{strategy:?} {bad}");
                assert!(message.starts_with("step 2: sentence 1: "), "{message}");
            }
        }
    }
}

#[test]
fn forbidding_every_token_is_an_error() {
    for strategy in strategies() {
        let options = DecodeOptions { strategy, suppressed: vec![0, 1, 2, 3], ..DecodeOptions::default() };
        let mut scorer = ConstantScorer::new(&[1.0, 2.0, 3.0, 4.0]);
        let (kind, message) = fail(options, &mut scorer, &[Request::new(&[START])]);
        assert_eq!(kind, ErrorKind::InvalidOption);
        assert!(message.contains("step 0: sentence 0: every token is forbidden"), "{message}");
    }
    // Each token may come once, and the end may not: nothing is left after three.
    let options = DecodeOptions { no_repeat_ngram: 1, min_length: 9, ..DecodeOptions::default() };
    let (_, message) = fail(options, &mut ConstantScorer::new(&[1.0; 4]), &[Request::new(&[START])]);
    assert!(message.contains("step 3: sentence 0: every token is forbidden"), "{message}");
}

#[test]
fn a_vocabulary_smaller_than_the_beam_is_searched() {
    let options = DecodeOptions { n_best: 16, max_length: 3, ..beam(16) };
    let mut scorer = ConstantScorer::new(&[0.0, 1.0]);
    let found = super::run(&options, &mut scorer, &[Request::new(&[START])]).remove(0).hypotheses;
    let lengths: Vec<_> = found.iter().map(|hypothesis| hypothesis.tokens.len()).collect();
    assert_eq!(lengths, [3, 2, 1, 0]);
}

#[test]
fn requests_must_fit_the_search() {
    let run = |request: Request| {
        let options = DecodeOptions { min_length: 2, max_length: 8, ..DecodeOptions::default() };
        fail(options, &mut HashScorer::new(4, &[(1, 1)]), &[Request::new(&[START]), request])
    };
    let cases = [
        (Request::new(&[]), "sentence 1: the length of the prefix is 0"),
        (Request::new(&[1; 5]), "sentence 1: the length of the prefix is 5"),
        (Request::new(&[1, 4]), "sentence 1: a token of the prefix is 4"),
        (Request { max_length: Some(9), ..Request::new(&[1]) }, "sentence 1: max_length is 9"),
        (Request { max_length: Some(1), ..Request::new(&[1]) }, "sentence 1: max_length is 1"),
    ];
    for (request, expected) in cases {
        let (kind, message) = run(request);
        assert_eq!(kind, ErrorKind::InvalidOption);
        assert!(message.starts_with(expected), "{message}");
    }
    let nine = [Request::new(&[START]); 9];
    let (_, message) = fail(DecodeOptions::default(), &mut ConstantScorer::new(&[1.0; 4]), &nine);
    assert!(message.starts_with("the number of requests is 9"), "{message}");
    let (_, message) = fail(DecodeOptions::default(), &mut ConstantScorer::new(&[1.0; 5]), &nine[..1]);
    assert!(message.starts_with("the scorer's vocabulary is 5"), "{message}");
}

#[test]
fn attention_must_be_there_where_it_is_needed() {
    for options in [
        DecodeOptions { alignments: Alignments::Hard, ..DecodeOptions::default() },
        DecodeOptions { coverage_penalty: 0.5, ..DecodeOptions::default() },
    ] {
        let mut scorer = ConstantScorer::new(&[1.0; 4]);
        let (kind, message) = fail(options.clone(), &mut scorer, &[Request::new(&[START])]);
        assert_eq!(kind, ErrorKind::InvalidOption);
        assert!(message.contains("a scorer that keeps the cross-attention"), "{message}");

        let small = Setup { source: 2, ..setup(4) };
        let mut search = Search::new(kernels(), options, small).unwrap();
        let mut scorer = HashScorer::new(4, &[(1, 3)]);
        let error = search.run(&mut scorer, &[Request::new(&[START])], &mut Unobserved).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InputTooLong);
    }
}

#[test]
fn what_the_search_is_made_for_is_checked() {
    let fail = |options: DecodeOptions, setup: Setup| {
        let error = Search::plan(&options, setup).unwrap_err();
        assert_eq!(
            Search::new(kernels(), options, setup).err().map(|e| e.to_string()),
            Some(error.to_string())
        );
        (error.kind(), error.to_string())
    };
    let good = DecodeOptions::default;
    let cases = [
        (good(), Setup { end: 4, ..setup(4) }, "end is 4"),
        (good(), Setup { prefix: 0, ..setup(4) }, "prefix is 0"),
        (good(), setup(0), "vocabulary is 0"),
        (DecodeOptions { suppressed: vec![END, 4], ..good() }, setup(4), "suppressed is 4"),
        (DecodeOptions { max_length: u32::MAX as usize, ..good() }, setup(4), "batch times beam"),
    ];
    for (options, setup, expected) in cases {
        let (kind, message) = fail(options, setup);
        assert_eq!(kind, ErrorKind::InvalidOption);
        assert!(message.starts_with(expected), "{message}");
    }
    let huge = Setup { source: usize::MAX / 2, ..setup(4) };
    let (kind, _) = fail(DecodeOptions { alignments: Alignments::Soft, ..good() }, huge);
    assert_eq!(kind, ErrorKind::MemoryLimit);
    // Where attention is not used the length of the source does not count.
    let mut search = Search::new(kernels(), beam(4), huge).unwrap();
    let requests = [Request::new(&[START, 2]); 3];
    search.run(&mut HashScorer::new(4, &[(1, 3); 3]), &requests, &mut Unobserved).unwrap();
}
