//! Greedy and beam search.

use siskin::decode::{
    Alignments, DecodeOptions, Ending, Hypotheses, Request, Sampling, Scores, Search, Strategy, Unobserved,
};
use siskin::kernels::Kernels;

use super::oracle::{Found, beam_search, enumerate};
use super::scorers::{HashScorer, mix};
use super::{END, START, beam, kernels, run, setup};

fn assert_same(found: &Hypotheses, expected: &[Found], case: &str) {
    assert_eq!(found.hypotheses.len(), expected.len(), "{case}: {found:?}\n{expected:?}");
    for (hypothesis, expected) in found.hypotheses.iter().zip(expected) {
        assert_eq!(hypothesis.tokens, expected.without_end(), "{case}");
        assert_eq!(hypothesis.log_prob, Some(expected.log_prob), "{case}");
        let close = (hypothesis.score.unwrap() - expected.score).abs() <= 1e-5 * (1.0 + expected.score.abs());
        assert!(close, "{case}: {:?} instead of {}", hypothesis.score, expected.score);
        let ended = expected.tokens.ends_with(&[END]);
        assert_eq!(hypothesis.ending, if ended { Ending::EndToken } else { Ending::MaxLength });
    }
}

#[test]
fn a_beam_that_holds_everything_finds_everything() {
    for seed in 0..200 {
        let (vocabulary, max_length) = [(3, 3), (4, 2), (2, 9)][seed as usize % 3];
        let options = DecodeOptions {
            max_length,
            n_best: 16,
            length_penalty: [0.0, 0.6, 1.0, 2.0][mix(seed) as usize % 4],
            coverage_penalty: [0.0, 0.4][mix(seed + 1) as usize % 2],
            min_length: mix(seed + 2) as usize % 3,
            repetition_penalty: [1.0, 1.5][mix(seed + 3) as usize % 2],
            patience: 2.0,
            ..beam(16)
        };
        let mut scorer = HashScorer::new(vocabulary, &[(seed, 5)]);
        let request = Request::new(&[START]);
        let mut all = enumerate(&options, &scorer, 0, &request);
        all.truncate(options.n_best);
        if options.length_penalty == 0.0 && options.coverage_penalty == 0.0 {
            // Without penalties the search stops once n_best hypotheses have finished, the best among them.
            all.truncate(1);
        }
        let mut found = run(&options, &mut scorer, &[request]).remove(0);
        found.hypotheses.truncate(all.len());
        assert_same(&found, &all, &format!("{options:?}, seed {seed}"));
    }
}

/// Random options that every strategy of beam search has to work under.
fn random_options(seed: u64) -> DecodeOptions {
    let choose = |salt: u64, n: usize| mix(seed ^ salt << 32) as usize % n;
    let size = [1, 2, 3, 4, 5, 16][choose(1, 6)];
    let patience = [1.0, 1.0, 2.0][choose(2, 3)];
    DecodeOptions {
        n_best: 1 + choose(3, size),
        patience,
        max_length: 1 + choose(4, 12),
        length_penalty: [0.0, 0.0, 0.7, 1.0, 1.3][choose(5, 5)],
        coverage_penalty: [0.0, 0.0, 0.3][choose(6, 3)],
        no_repeat_ngram: [0, 0, 2, 3][choose(7, 4)],
        repetition_penalty: [1.0, 1.0, 1.4][choose(8, 3)],
        suppressed: if choose(9, 2) == 0 { vec![] } else { vec![2, 5] },
        ..beam(size)
    }
}

#[test]
fn beams_are_those_of_the_plain_algorithm() {
    for seed in 0..400 {
        let mut options = random_options(seed);
        options.min_length = options.max_length.min(mix(seed) as usize % 4);
        let vocabulary = [12, 40, 150][seed as usize % 3];
        let mut scorer = HashScorer::new(vocabulary, &[(seed, 7)]);
        scorer.end_bias = [0.0, 2.0, 3.0][mix(seed + 9) as usize % 3];
        let request = Request::new(&[START, 3, 4][..1 + mix(seed + 5) as usize % 3]);
        let expected = beam_search(&options, &scorer, 0, &request);
        let found = run(&options, &mut scorer, &[request]).remove(0);
        assert_same(&found, &expected, &format!("{options:?}, seed {seed}"));
    }
}

#[test]
fn a_beam_of_one_is_greedy() {
    for seed in 0..100 {
        let options = DecodeOptions {
            strategy: Strategy::Beam { size: 1 },
            n_best: 1,
            patience: 1.0,
            ..random_options(seed)
        };
        let mut scorer = HashScorer::new(30, &[(seed, 4)]);
        let request = Request::new(&[START]);
        let one = run(&options, &mut scorer, &[request]);
        scorer.restart();
        let greedy =
            run(&DecodeOptions { strategy: Strategy::Greedy, ..options.clone() }, &mut scorer, &[request]);
        assert_eq!(one, greedy, "{options:?}");
        scorer.restart();
        let skip = DecodeOptions { strategy: Strategy::Greedy, scores: Scores::Skip, ..options };
        let skipped = run(&skip, &mut scorer, &[request]).remove(0).hypotheses.remove(0);
        assert_eq!(skipped.tokens, greedy[0].hypotheses[0].tokens);
        assert_eq!((skipped.score, skipped.log_prob), (None, None));
    }
}

#[test]
fn the_best_are_sorted_and_unique() {
    for seed in 0..100 {
        let options = random_options(seed);
        let mut scorer = HashScorer::new(12, &[(seed, 4)]);
        let found = run(&options, &mut scorer, &[Request::new(&[START])]).remove(0).hypotheses;
        assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score), "{found:?}");
        let mut tokens: Vec<_> = found.iter().map(|hypothesis| &hypothesis.tokens).collect();
        tokens.sort();
        tokens.dedup();
        assert_eq!(tokens.len(), found.len(), "{found:?}");
    }
}

#[test]
fn a_batch_gives_the_bits_of_its_sentences_alone() {
    let prefixes: [&[u32]; 4] = [&[START], &[START, 3], &[START, 2, 2, 5], &[4, 1]];
    for seed in 0..60 {
        let mut options = random_options(seed);
        match seed % 3 {
            0 => options = DecodeOptions { strategy: Strategy::Greedy, n_best: 1, ..options },
            1 => {
                options.strategy =
                    Strategy::Sample(Sampling { temperature: 0.8, seed, ..Sampling::default() })
            }
            _ => {}
        }
        options.max_length += 3;
        options.scores = Scores::Tokens;
        options.alignments = Alignments::Soft;
        let sentences: Vec<_> = (0..6).map(|i| (mix(seed + i), 1 + mix(i) as usize % 9)).collect();
        let terms: [&[u32]; 2] = [&[1, 2], &[3, 4, 5]];
        let requests: Vec<_> = (0..6)
            .map(|i| Request {
                prefix: prefixes[mix(seed ^ i) as usize % 4],
                max_length: [None, Some(3)][i as usize % 2],
                id: 100 + i,
                terms: if i < 3 { &[] } else { &terms },
            })
            .collect();
        let mut batch = HashScorer::new(25, &sentences);
        batch.end_bias = 2.0;
        let together = run(&options, &mut batch, &requests);
        for ((sentence, request), expected) in sentences.iter().zip(&requests).zip(together) {
            let mut alone = HashScorer::new(25, &[*sentence]);
            alone.end_bias = 2.0;
            assert_eq!(run(&options, &mut alone, &[*request]), [expected], "{options:?}");
        }
    }
}

#[test]
fn a_search_can_run_again() {
    let options = DecodeOptions { max_length: 9, coverage_penalty: 0.2, ..beam(4) };
    let mut search = Search::new(kernels(), options, setup(20)).unwrap();
    let requests = [Request::new(&[START, 3]), Request::new(&[START])];
    let mut scorer = HashScorer::new(20, &[(1, 3), (2, 6)]);
    let first = search.run(&mut scorer, &requests, &mut Unobserved).unwrap();
    scorer.restart();
    assert_eq!(search.run(&mut scorer, &requests, &mut Unobserved).unwrap(), first);
}

#[test]
fn scores_and_alignments_are_those_of_the_tokens() {
    for seed in 0..40 {
        let options = DecodeOptions {
            scores: Scores::Tokens,
            alignments: Alignments::Soft,
            n_best: 4,
            max_length: 8,
            ..beam(4)
        };
        let mut scorer = HashScorer::new(15, &[(seed, 6)]);
        let prefix = [START, 7, 9];
        let found = run(&options, &mut scorer, &[Request::new(&prefix)]).remove(0);
        let log_prob = |fed: &[u32], token: u32| {
            let (logits, attention) = scorer.after(0, fed);
            ((logits[token as usize] - kernels().log_sum_exp(&logits)).min(0.0), attention)
        };
        let forced = [log_prob(&prefix[..1], 7).0, log_prob(&prefix[..2], 9).0];
        assert_eq!(found.prefix_log_probs, forced);
        assert_eq!(found.source_length, 6);
        for hypothesis in &found.hypotheses {
            let mut fed = prefix.to_vec();
            let mut sum = 0.0;
            let ended = hypothesis.ending == Ending::EndToken;
            let tokens = hypothesis.tokens.iter().copied().chain(ended.then_some(END));
            assert_eq!(hypothesis.token_log_probs.len(), hypothesis.tokens.len() + usize::from(ended));
            assert_eq!(hypothesis.alignment.len(), hypothesis.tokens.len());
            assert_eq!(hypothesis.attention.len(), 6 * hypothesis.tokens.len());
            for (place, token) in tokens.enumerate() {
                let (expected, attention) = log_prob(&fed, token);
                assert_eq!(hypothesis.token_log_probs[place], expected);
                sum += expected;
                fed.push(token);
                if place < hypothesis.tokens.len() {
                    assert_eq!(hypothesis.attention[place * 6..][..6], attention);
                    let highest = attention.iter().copied().fold(0.0, f32::max);
                    assert_eq!(attention[hypothesis.alignment[place] as usize], highest);
                }
            }
            assert_eq!(hypothesis.log_prob, Some(sum));
        }
    }
}

#[test]
fn tokens_and_scores_are_the_same_bits_on_every_instruction_set() {
    for kernels in Kernels::available() {
        let mut fingerprint = 0;
        for seed in 0..60 {
            let mut options = random_options(seed);
            if seed % 3 == 0 {
                options.strategy = Strategy::Sample(Sampling { top_p: 0.9, seed, ..Sampling::default() });
            }
            let mut scorer = HashScorer::new(150, &[(seed, 7), (seed + 99, 3)]);
            scorer.end_bias = 2.0;
            let mut search = Search::new(kernels, options, setup(150)).unwrap();
            let requests = [Request::new(&[START]), Request::new(&[START, 5])];
            for found in search.run(&mut scorer, &requests, &mut Unobserved).unwrap() {
                for hypothesis in found.hypotheses {
                    for bits in hypothesis.tokens.into_iter().chain(hypothesis.score.map(f32::to_bits)) {
                        fingerprint = mix(fingerprint ^ u64::from(bits)).wrapping_add(1);
                    }
                }
            }
        }
        // What every instruction set gives, aarch64 under QEMU included.
        assert_eq!(fingerprint, 7_362_115_316_641_171_043, "{}", kernels.isa());
    }
}
