//! Finished hypotheses: their scores, and the best of them.

use alloc::vec::Vec;

use super::history::Branch;
use super::memory::Memory;
use super::options::{DecodeOptions, Setup};
use super::request::Ending;
use crate::error::Result;
use crate::kernels::math;

/// A hypothesis that goes no further.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finished {
    /// Its tokens, without the end token.
    pub branch: Branch,
    pub ending: Ending,
    /// Log-probability of the end token, where that is the ending.
    pub end_log_prob: f32,
    /// Sum of all log-probabilities, the end token's included.
    pub log_prob: f32,
    pub score: f32,
}

impl Finished {
    const NONE: Self = Self {
        branch: Branch::EMPTY,
        ending: Ending::EndToken,
        end_log_prob: 0.0,
        log_prob: 0.0,
        score: f32::NEG_INFINITY,
    };
}

/// The score of a hypothesis, from its log-probability, length and attention.
pub(super) struct Scoring {
    /// `length ^ length_penalty`, rising: [max_length + 1].
    divisors: Vec<f32>,
    coverage_penalty: f32,
}

impl Scoring {
    /// Room for the divisors of every length; [`prepare`](Self::prepare) computes them.
    pub fn new(memory: &mut Memory, options: &DecodeOptions) -> Result<Self> {
        let divisors = memory.buffer(&[options.max_length, 1])?;
        Ok(Self { divisors, coverage_penalty: options.coverage_penalty })
    }

    /// Computes the divisors.
    pub fn prepare(&mut self, options: &DecodeOptions) {
        let mut divisor = 1.0f32;
        self.divisors.extend((1..=options.max_length).map(|length| {
            divisor = divisor.max(math::double::pow(length as f64, f64::from(options.length_penalty)) as f32);
            divisor
        }));
    }

    /// The score of a hypothesis of `length` tokens, the end token included (Wu et al. 2016, "Google's neural machine
    /// translation system", equation 14, with the length normalization `length ^ alpha`). `coverage` has the sum of
    /// the attention that each source position got.
    pub fn score(&self, log_prob: f32, length: usize, coverage: impl Iterator<Item = f32>) -> f32 {
        let normalized = log_prob / self.divisors[length - 1];
        if self.coverage_penalty == 0.0 {
            return normalized;
        }
        let seen = coverage.filter(|&sum| sum > 0.0);
        let penalty = seen.fold(0.0, |penalty, sum| penalty + math::ln(sum.min(1.0)).min(0.0));
        normalized + self.coverage_penalty * penalty
    }

    /// The best score that a hypothesis with `log_prob` can still reach in at most `longest` tokens: what follows only
    /// lowers its log-probability, and no coverage is above 0.
    pub fn bound(&self, log_prob: f32, longest: usize) -> f32 {
        log_prob / self.divisors[longest - 1]
    }
}

/// The best finished hypotheses of each sentence, best first.
pub(super) struct Ranking {
    /// [batch, n_best]
    finished: Vec<Finished>,
    /// Of each sentence, how many are kept.
    kept: Vec<usize>,
    n_best: usize,
}

impl Ranking {
    /// Room for `n_best` hypotheses a sentence.
    pub fn new(memory: &mut Memory, options: &DecodeOptions, setup: &Setup) -> Result<Self> {
        let n_best = options.n_best;
        Ok(Self {
            finished: memory.buffer(&[setup.batch, n_best])?,
            kept: memory.buffer(&[setup.batch])?,
            n_best,
        })
    }

    /// Empty rankings for `sentences`.
    pub fn clear(&mut self, sentences: usize) {
        self.finished.clear();
        self.finished.resize(sentences * self.n_best, Finished::NONE);
        self.kept.clear();
        self.kept.resize(sentences, 0);
    }

    /// Ranks one more; of equal scores the earlier comes first.
    pub fn add(&mut self, sentence: usize, finished: Finished) {
        let place = self.of(sentence).partition_point(|better| better.score >= finished.score);
        let all = &mut self.finished[sentence * self.n_best..][..self.n_best];
        if place < all.len() {
            all[place..].rotate_right(1);
            all[place] = finished;
            self.kept[sentence] = self.n_best.min(self.kept[sentence] + 1);
        }
    }

    /// The best of `sentence`.
    pub fn of(&self, sentence: usize) -> &[Finished] {
        &self.finished[sentence * self.n_best..][..self.kept[sentence]]
    }

    /// The score that another hypothesis must be above to be returned for `sentence`.
    pub fn bar(&self, sentence: usize) -> f32 {
        self.of(sentence).get(self.n_best - 1).map_or(f32::NEG_INFINITY, |worst| worst.score)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_and_of_equals_the_first() {
        let setup = Setup { vocabulary: 9, end: 0, batch: 2, prefix: 1, source: 0 };
        let options = DecodeOptions { n_best: 3, ..DecodeOptions::default() };
        let mut ranking = Ranking::new(&mut Memory::allocating(), &options, &setup).unwrap();
        ranking.clear(2);
        let kept = |ranking: &Ranking| -> Vec<_> {
            ranking.of(1).iter().map(|finished| (finished.score, finished.log_prob)).collect()
        };
        assert_eq!(ranking.bar(1), f32::NEG_INFINITY);
        for (order, score) in [-2.0, -1.0, -2.0].into_iter().enumerate() {
            ranking.add(1, Finished { score, log_prob: order as f32, ..Finished::NONE });
        }
        assert_eq!(
            (kept(&ranking), ranking.bar(1)),
            (alloc::vec![(-1.0, 1.0), (-2.0, 0.0), (-2.0, 2.0)], -2.0)
        );
        ranking.add(1, Finished { score: -2.0, log_prob: 3.0, ..Finished::NONE });
        ranking.add(1, Finished { score: -0.5, log_prob: 4.0, ..Finished::NONE });
        assert_eq!(kept(&ranking), [(-0.5, 4.0), (-1.0, 1.0), (-2.0, 0.0)]);
        assert!(ranking.of(0).is_empty());
    }

    #[test]
    fn scores_are_normalized_and_what_is_not_covered_is_penalized() {
        let options = DecodeOptions { max_length: 4, length_penalty: 0.5, ..DecodeOptions::default() };
        let score = |coverage_penalty, coverage: [f32; 3]| {
            let options = DecodeOptions { coverage_penalty, ..options.clone() };
            let mut scoring = Scoring::new(&mut Memory::allocating(), &options).unwrap();
            scoring.prepare(&options);
            assert_eq!(scoring.bound(-3.0, 4), -1.5);
            scoring.score(-3.0, 4, coverage.into_iter())
        };
        assert_eq!(score(0.0, [0.5, 0.5, 0.5]), -1.5);
        assert_eq!(score(2.0, [1.0, 3.0, 0.0]), -1.5);
        assert!((score(2.0, [0.5, 3.0, 1.0]) - (-1.5 + 2.0 * 0.5f32.ln())).abs() < 1e-6);
    }
}
