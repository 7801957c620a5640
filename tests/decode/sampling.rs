//! Random tokens come as often as they should.

use siskin::decode::{DecodeOptions, Request, Sampling, Strategy};

use super::scorers::{ConstantScorer, HashScorer};
use super::{START, run};

const LOGITS: [f32; 8] = [0.5, 2.0, -1.0, 1.5, 0.0, 1.0, -3.0, 0.7];

/// How often each token of `LOGITS` is drawn in 16,000 sentences of one token.
fn counts(sampling: Sampling) -> [usize; 8] {
    let options = DecodeOptions {
        strategy: Strategy::Sample(sampling),
        n_best: 16,
        max_length: 1,
        suppressed: vec![0],
        ..DecodeOptions::default()
    };
    let mut counts = [0; 8];
    for id in 0..1000 {
        let request = Request { id, ..Request::new(&[START]) };
        let found = run(&options, &mut ConstantScorer::new(&LOGITS), &[request]).remove(0);
        for hypothesis in &found.hypotheses {
            counts[hypothesis.tokens[0] as usize] += 1;
        }
    }
    counts
}

/// Holds the counts against a softmax over `support`: Pearson's chi-square, whose 0.999 quantile is 24.3 with the
/// seven degrees of freedom of eight tokens and less with fewer.
fn assert_softmax(counts: [usize; 8], support: &[usize], temperature: f32) {
    let weight = |token: usize| f64::from((LOGITS[token] / temperature).exp());
    let total: f64 = support.iter().map(|&token| weight(token)).sum();
    let drawn: usize = counts.iter().sum();
    let mut chi_square = 0.0;
    for (token, &count) in counts.iter().enumerate() {
        if support.contains(&token) {
            let expected = drawn as f64 * weight(token) / total;
            chi_square += (count as f64 - expected).powi(2) / expected;
        } else {
            assert_eq!(count, 0, "token {token} must not be drawn");
        }
    }
    assert!(chi_square < 24.3, "chi-square {chi_square}: {counts:?}");
}

#[test]
fn tokens_come_as_often_as_the_softmax_says() {
    let sampling = Sampling { seed: 11, ..Sampling::default() };
    assert_softmax(counts(sampling), &[1, 2, 3, 4, 5, 6, 7], 1.0);
    assert_softmax(counts(Sampling { temperature: 0.5, ..sampling }), &[1, 2, 3, 4, 5, 6, 7], 0.5);
    assert_softmax(counts(Sampling { temperature: 2.0, top_k: 4, ..sampling }), &[1, 3, 5, 7], 2.0);
}

#[test]
fn top_p_keeps_the_smallest_set_that_is_enough() {
    // The probabilities of tokens 1, 3, 5, 7, 4 ... are 0.41, 0.25, 0.15, 0.11, 0.055 ...
    for (top_p, support) in [(0.4, &[1][..]), (0.6, &[1, 3]), (0.7, &[1, 3, 5]), (0.9, &[1, 3, 5, 7])] {
        assert_softmax(counts(Sampling { top_p, seed: 3, ..Sampling::default() }), support, 1.0);
    }
    // Of the three that top-k leaves, 1 and 3 have 0.81 of the weight.
    assert_softmax(counts(Sampling { top_k: 3, top_p: 0.8, seed: 3, ..Sampling::default() }), &[1, 3], 1.0);
}

#[test]
fn the_seed_and_the_id_fix_the_output() {
    let sample = |seed, id| {
        let sampling = Sampling { seed, ..Sampling::default() };
        let options = DecodeOptions {
            strategy: Strategy::Sample(sampling),
            n_best: 4,
            max_length: 12,
            ..DecodeOptions::default()
        };
        let mut scorer = HashScorer::new(40, &[(1, 1)]);
        run(&options, &mut scorer, &[Request { id, ..Request::new(&[START]) }]).remove(0)
    };
    assert_eq!(sample(1, 1), sample(1, 1));
    assert_ne!(sample(1, 1), sample(2, 1));
    assert_ne!(sample(1, 1), sample(1, 2));
    let hypotheses = sample(1, 1).hypotheses;
    assert_eq!(hypotheses.len(), 4);
    assert!(hypotheses.windows(2).all(|pair| pair[0].score >= pair[1].score && pair[0] != pair[1]));
}

#[test]
fn the_reported_log_probability_is_the_models_own() {
    let sampling = Sampling { top_k: 2, temperature: 0.3, ..Sampling::default() };
    let strategy = Strategy::Sample(sampling);
    let options = DecodeOptions { strategy, max_length: 1, ..DecodeOptions::default() };
    let best = run(&options, &mut ConstantScorer::new(&LOGITS), &[Request::new(&[START])])
        .remove(0)
        .hypotheses
        .remove(0);
    let expected = LOGITS[best.tokens[0] as usize] - super::kernels().log_sum_exp(&LOGITS);
    assert_eq!(best.log_prob, Some(expected));
}
