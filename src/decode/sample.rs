//! Sampling: random tokens from the model's distribution.

use alloc::vec::Vec;

use super::frontier::{Candidate, Frontier, log_prob, nothing_left};
use super::options::Sampling;
use crate::error::Result;
use crate::kernels::math;

/// A token that can be drawn: its weight, at first its logit, and its column. From heavy to light; of equal ones the lower
/// column, and so the lower token, first.
///
/// One number, so that sorting is fast and its code small: the upper half has the bits of the weight, mapped so that they
/// fall as it rises, the lower half has the column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Weighted(u64);

impl Weighted {
    fn new(weight: f32, column: u32) -> Self {
        let bits = weight.to_bits();
        let falling = if bits >> 31 == 0 { !bits ^ 1 << 31 } else { bits };
        Self(u64::from(falling) << 32 | u64::from(column))
    }

    fn weight(self) -> f32 {
        let falling = (self.0 >> 32) as u32;
        f32::from_bits(if falling >> 31 == 0 { !falling ^ 1 << 31 } else { falling })
    }

    fn column(self) -> u32 {
        self.0 as u32
    }
}

impl Sampling {
    /// Adds one continuation for each live hypothesis; the first step draws those of all `samples` from the one
    /// hypothesis there is. `weighted` is room for a vocabulary.
    ///
    /// The log-probabilities are the model's, before temperature, top-k and top-p.
    pub(super) fn draw(
        &self,
        frontier: &Frontier,
        (id, samples): (u64, usize),
        weighted: &mut Vec<Weighted>,
        candidates: &mut Vec<Candidate>,
    ) -> Result<()> {
        for (row, hypothesis, logits) in frontier.iter() {
            let normalizer = frontier.normalizer(logits)?.ok_or_else(nothing_left)?;
            self.weigh(logits, weighted);
            let step = hypothesis.branch.length;
            let drawn = if step == 0 { 0..samples } else { hypothesis.sample..hypothesis.sample + 1 };
            for sample in drawn {
                let column = pick(weighted, uniform(self.seed, id, sample, step)) as usize;
                let token_log_prob = log_prob(logits[column], normalizer);
                let (token, log_prob) =
                    (frontier.columns.token(column), hypothesis.log_prob + token_log_prob);
                candidates.push(Candidate { row, token, token_log_prob, log_prob, sample });
            }
        }
        Ok(())
    }

    /// Fills `weighted` with the tokens that can be drawn and their unnormalized probabilities.
    fn weigh(&self, logits: &[f32], weighted: &mut Vec<Weighted>) {
        weighted.clear();
        let possible = logits.iter().zip(0..).filter(|(logit, _)| **logit > f32::NEG_INFINITY);
        weighted.extend(possible.map(|(&logit, column)| Weighted::new(logit, column)));
        if self.top_k > 0 && self.top_k < weighted.len() {
            weighted.select_nth_unstable(self.top_k - 1);
            weighted.truncate(self.top_k);
            weighted.sort_unstable();
        }
        let largest = weighted.iter().min().map_or(f32::NEG_INFINITY, |heaviest| heaviest.weight());
        for weighted in weighted.iter_mut() {
            let weight = math::exp((weighted.weight() - largest) / self.temperature);
            *weighted = Weighted::new(weight, weighted.column());
        }
        if self.top_p < 1.0 {
            keep_nucleus(self.top_p, weighted);
        }
    }
}

/// Keeps the smallest set of heaviest tokens that together weigh at least `top_p` of all (Holtzman et al. 2020, "The
/// curious case of neural text degeneration", section 3.1).
///
/// Of n tokens those lighter than (1 - p) / n of the whole weigh less than 1 - p together: they are left out before
/// the rest is sorted.
fn keep_nucleus(top_p: f32, weighted: &mut Vec<Weighted>) {
    let all = total(weighted);
    let lightest = (1.0 - f64::from(top_p)) * all / weighted.len() as f64;
    weighted.retain(|weighted| f64::from(weighted.weight()) >= lightest);
    weighted.sort_unstable();
    let enough = f64::from(top_p) * all;
    let mut sum = 0.0;
    let before = weighted.iter().position(|weighted| {
        sum += f64::from(weighted.weight());
        sum >= enough
    });
    weighted.truncate(before.map_or(weighted.len(), |last| last + 1));
}

/// Sum of the weights, in the order in which they stand.
fn total(weighted: &[Weighted]) -> f64 {
    weighted.iter().map(|weighted| f64::from(weighted.weight())).sum()
}

/// The column at the fraction `u` in [0, 1) of the cumulative weight.
fn pick(weighted: &[Weighted], u: f64) -> u32 {
    let target = u * total(weighted);
    let mut sum = 0.0;
    let mut last = 0;
    for weighted in weighted.iter().filter(|weighted| weighted.weight() > 0.0) {
        sum += f64::from(weighted.weight());
        last = weighted.column();
        if sum > target {
            break;
        }
    }
    last
}

/// A number in [0, 1) that depends on nothing but its arguments: no sentence's numbers depend on its batch.
fn uniform(seed: u64, id: u64, sample: usize, step: usize) -> f64 {
    let bits = [id, sample as u64, step as u64].iter().fold(mix(seed), |state, &n| mix(state ^ mix(n)));
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// One step of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators").
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weigh(sampling: Sampling, logits: &[f32]) -> Vec<(f32, u32)> {
        let mut weighted = Vec::new();
        sampling.weigh(logits, &mut weighted);
        weighted.into_iter().map(|weighted| (weighted.weight(), weighted.column())).collect()
    }

    fn pick(weighted: &[(f32, u32)], u: f64) -> u32 {
        let weighted: Vec<_> =
            weighted.iter().map(|&(weight, column)| Weighted::new(weight, column)).collect();
        super::pick(&weighted, u)
    }

    #[test]
    fn heavy_tokens_are_before_light_ones_and_of_equal_ones_the_lower() {
        let weights = [f32::INFINITY, 2.5, 1.0, f32::MIN_POSITIVE, 0.0, -0.0, -1.0, -2.5, f32::NEG_INFINITY];
        let ordered = weights.map(|weight| [Weighted::new(weight, 3), Weighted::new(weight, u32::MAX)]);
        assert!(ordered.as_flattened().is_sorted());
        for ([weighted, _], weight) in ordered.into_iter().zip(weights) {
            assert_eq!((weighted.weight().to_bits(), weighted.column()), (weight.to_bits(), 3));
        }
    }

    #[test]
    fn of_equal_logits_the_lower_token_is_kept() {
        let sampling = Sampling { top_k: 2, ..Sampling::default() };
        assert_eq!(weigh(sampling, &[0.0, 3.0, f32::NEG_INFINITY, 3.0, 3.0]), [(1.0, 1), (1.0, 3)]);
        let sampling = Sampling { top_p: 0.5, ..Sampling::default() };
        assert_eq!(weigh(sampling, &[1.0; 4]), [(1.0, 0), (1.0, 1)]);
    }

    #[test]
    fn a_forbidden_token_has_no_weight_and_the_coldest_distribution_one_token() {
        let weighted = weigh(Sampling::default(), &[f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY]);
        assert_eq!(weighted, [(1.0, 1)]);
        let cold =
            weigh(Sampling { temperature: f32::MIN_POSITIVE, ..Sampling::default() }, &[1.0, 2.0, 0.0]);
        for step in 0..100 {
            assert_eq!(pick(&cold, uniform(1, 2, 3, step)), 1);
        }
    }

    #[test]
    fn the_whole_range_of_a_cumulative_weight_is_reached() {
        let weighted = [(0.25, 7), (0.0, 8), (0.5, 2), (0.25, 4), (0.0, 9)];
        let tokens = [0.0, 0.24, 0.25, 0.74, 0.75, 1.0 - f64::EPSILON, 1.0].map(|u| pick(&weighted, u));
        assert_eq!(tokens, [7, 7, 2, 2, 4, 4, 4]);
    }
}
