//! A search that reads only the highest logits says so, and finds the same when all others are wrong.

use std::ops::Range;

use siskin::Result;
use siskin::decode::{DecodeOptions, Hypothesis, Logits, Request, Scorer, Scores, Strategy};

use super::scorers::HashScorer;
use super::{END, START, beam, run};

/// Makes every logit wrong that need not be right.
struct Careless {
    scorer: HashScorer,
    rows: usize,
    /// Steps of which only the highest logits were asked for.
    steps: usize,
}

impl Scorer for Careless {
    fn vocabulary(&self) -> usize {
        self.scorer.vocabulary()
    }

    fn step(&mut self, tokens: &[u32], parents: &[u32]) -> Result<()> {
        self.rows = tokens.len();
        self.scorer.step(tokens, parents)
    }

    fn step_highest(&mut self, tokens: &[u32], parents: &[u32], except: &[u32]) -> Result<()> {
        self.step(tokens, parents)?;
        self.steps += 1;
        for row in 0..self.rows {
            let Logits { values, .. } = self.scorer.logits(row..row + 1);
            except.iter().for_each(|&token| values[token as usize] = f32::NEG_INFINITY);
            let highest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            values.iter_mut().filter(|logit| **logit < highest).for_each(|logit| *logit = highest - 0.001);
            except.iter().for_each(|&token| values[token as usize] = 100.0);
        }
        Ok(())
    }

    fn logits(&mut self, rows: Range<usize>) -> Logits<'_> {
        self.scorer.logits(rows)
    }

    fn attention(&self, row: usize) -> Option<&[f32]> {
        self.scorer.attention(row)
    }
}

/// What both scorers lead to, and of how many steps only the highest logits were asked for.
fn both(options: &DecodeOptions, requests: &[Request<'_>]) -> ([Vec<Hypothesis>; 2], usize) {
    let sentences: Vec<(u64, usize)> = (0..requests.len()).map(|i| (70 + i as u64, 3)).collect();
    let mut scorer = HashScorer::new(12, &sentences);
    let mut careless = Careless { scorer: HashScorer::new(12, &sentences), rows: 0, steps: 0 };
    let first = |found: Vec<siskin::decode::Hypotheses>| {
        found.into_iter().map(|mut found| found.hypotheses.remove(0)).collect()
    };
    let found = [first(run(options, &mut scorer, requests)), first(run(options, &mut careless, requests))];
    assert_eq!(scorer.steps, careless.scorer.steps);
    (found, careless.steps)
}

#[test]
fn greedy_search_without_scores_reads_nothing_else() {
    let greedy = DecodeOptions { max_length: 9, scores: Scores::Skip, ..DecodeOptions::default() };
    let alike = [Request::new(&[START]); 4];
    for options in [
        greedy.clone(),
        DecodeOptions { suppressed: vec![3, 7, 9], ..greedy.clone() },
        DecodeOptions { min_length: 5, ..greedy.clone() },
        DecodeOptions { min_length: 9, suppressed: vec![END, 4], ..greedy.clone() },
    ] {
        let ([exact, careless], steps) = both(&options, &alike);
        assert_eq!(exact, careless, "{options:?}");
        let longest = exact.iter().map(|hypothesis| hypothesis.tokens.len()).max();
        assert!(Some(steps) >= longest, "{steps} steps for {longest:?} tokens");
    }
    // The second sentence may end before the first: then all logits are needed, but before and after that they are not.
    let requests = [Request::new(&[START]), Request::new(&[START, 5, 6])];
    let ([exact, careless], steps) = both(&DecodeOptions { min_length: 6, ..greedy }, &requests);
    assert_eq!(exact, careless);
    assert!(steps > 2, "{steps} steps");
}

#[test]
fn whatever_needs_more_gets_all() {
    let greedy = DecodeOptions { max_length: 5, scores: Scores::Skip, ..DecodeOptions::default() };
    for options in [
        DecodeOptions { scores: Scores::Total, ..greedy.clone() },
        DecodeOptions { no_repeat_ngram: 2, ..greedy.clone() },
        DecodeOptions { repetition_penalty: 1.5, ..greedy.clone() },
        DecodeOptions { scores: Scores::Skip, ..beam(3) },
        DecodeOptions { strategy: Strategy::Sample(Default::default()), ..greedy.clone() },
    ] {
        let ([exact, careless], steps) = both(&options, &[Request::new(&[START])]);
        assert_eq!((exact, steps), (careless, 0), "{options:?}");
    }
    let term: &[u32] = &[5, 6];
    let terms = [term];
    let request = Request { terms: &terms, ..Request::new(&[START]) };
    assert_eq!(both(&greedy, &[request]).1, 0);
}
