//! Every constraint holds in every output, whatever the strategy.

use siskin::decode::{DecodeOptions, Ending, Hypothesis, Request, Sampling, Strategy};

use super::scorers::HashScorer;
use super::{END, START, beam, run};

/// All hypotheses for many sentences, by greedy search, beams and samples.
fn outputs(options: &DecodeOptions, end_bias: f32, prefix: &[u32]) -> Vec<Hypothesis> {
    let mut outputs = Vec::new();
    for strategy in [
        Strategy::Greedy,
        Strategy::Beam { size: 4 },
        Strategy::Sample(Sampling { seed: 5, ..Sampling::default() }),
    ] {
        let n_best = if strategy == Strategy::Greedy { 1 } else { 3 };
        let options = DecodeOptions { strategy, n_best, ..options.clone() };
        for seed in 0..30 {
            let mut scorer = HashScorer::new(10, &[(seed, 3)]);
            scorer.end_bias = end_bias;
            outputs.extend(run(&options, &mut scorer, &[Request::new(prefix)]).remove(0).hypotheses);
        }
    }
    outputs
}

#[test]
fn lengths_are_within_their_bounds() {
    let options = DecodeOptions { min_length: 4, max_length: 6, ..DecodeOptions::default() };
    for (end_bias, length) in [(20.0, 4), (-20.0, 6)] {
        for output in outputs(&options, end_bias, &[START]) {
            assert_eq!(output.tokens.len(), length);
            assert_eq!(output.ending == Ending::EndToken, length == 4);
        }
    }
}

#[test]
fn no_ngram_comes_twice() {
    for n in 1..=3 {
        let options = DecodeOptions { no_repeat_ngram: n, max_length: 8, ..DecodeOptions::default() };
        for output in outputs(&options, -3.0, &[START, 6, 7, 8]) {
            let all = [&[6, 7, 8], &output.tokens[..]].concat();
            for (place, ngram) in all.windows(n).enumerate() {
                assert!(!all.windows(n).take(place).any(|before| before == ngram), "{n}: {all:?}");
            }
        }
    }
}

#[test]
fn suppressed_tokens_never_come() {
    let options = DecodeOptions { suppressed: vec![END, 3, 4, 5], max_length: 7, ..DecodeOptions::default() };
    for output in outputs(&options, 0.0, &[START]) {
        assert!(!output.tokens.iter().any(|token| options.suppressed.contains(token)));
        assert_eq!(output.ending, Ending::MaxLength);
    }
}

#[test]
fn a_repetition_penalty_makes_repetition_rarer() {
    let repeated = |repetition_penalty| {
        let options = DecodeOptions { repetition_penalty, max_length: 8, ..DecodeOptions::default() };
        let outputs = outputs(&options, -20.0, &[START]);
        let repeats = |output: &Hypothesis| {
            (1..output.tokens.len()).filter(|&i| output.tokens[..i].contains(&output.tokens[i])).count()
        };
        outputs.iter().map(repeats).sum::<usize>()
    };
    let (without, with) = (repeated(1.0), repeated(5.0));
    assert!(with * 2 < without, "{with} repetitions with a penalty, {without} without");
}

#[test]
fn a_forced_prefix_changes_what_follows_and_is_not_returned() {
    let options = DecodeOptions { max_length: 5, ..beam(4) };
    for seed in 0..20 {
        let mut scorer = HashScorer::new(10, &[(seed, 3)]);
        let forced = run(&options, &mut scorer, &[Request::new(&[START, 8, END, 9])]);
        // The same tokens as start tokens of another sentence: the search must have fed all of them, the end token
        // included, and begun with what follows.
        let expected = super::oracle::beam_search(&options, &scorer, 0, &Request::new(&[START, 8, END, 9]));
        assert_eq!(forced[0].hypotheses[0].tokens, expected[0].without_end());
        assert!(forced[0].prefix_log_probs.is_empty());
    }
}
