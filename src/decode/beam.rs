//! Beam search: the best continuations of all hypotheses of a sentence.

use alloc::vec::Vec;

use super::frontier::{Candidate, Frontier, log_prob};
use crate::error::Result;

/// Logits of which only the largest is looked at first.
const BLOCK: usize = 64;

/// Adds the `count` continuations with the highest log-probability to `candidates`, best first. Of equal ones the
/// lower row comes first, then the lower token. There are fewer where there are not as many.
///
/// Log-probabilities rise with the logits, rounding included, so a block whose largest logit cannot enter is skipped.
pub(super) fn best_continuations(
    frontier: &Frontier,
    count: usize,
    candidates: &mut Vec<Candidate>,
) -> Result<()> {
    let start = candidates.len();
    for (row, hypothesis, logits) in frontier.iter() {
        let Some(normalizer) = frontier.normalizer(logits)? else { continue };
        let continued = |logit: f32| hypothesis.log_prob + log_prob(logit, normalizer);
        for (block, logits) in logits.chunks(BLOCK).enumerate() {
            let largest = logits.iter().fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
            if continued(largest) <= bar(&candidates[start..], count) {
                continue;
            }
            for (column, &logit) in logits.iter().enumerate() {
                let log_prob_with = continued(logit);
                if log_prob_with > bar(&candidates[start..], count) {
                    let token = (block * BLOCK + column) as u32;
                    let token_log_prob = log_prob(logit, normalizer);
                    let candidate =
                        Candidate { row, token, token_log_prob, log_prob: log_prob_with, sample: 0 };
                    enter(candidate, start, count, candidates);
                }
            }
        }
    }
    Ok(())
}

/// What a log-probability must be above to be among the `count` best.
fn bar(best: &[Candidate], count: usize) -> f32 {
    if best.len() < count { f32::NEG_INFINITY } else { best[count - 1].log_prob }
}

/// Inserts into the sorted `candidates[start..]`, of which at most `count` are kept.
fn enter(candidate: Candidate, start: usize, count: usize, candidates: &mut Vec<Candidate>) {
    if candidates.len() - start == count {
        candidates.pop();
    }
    let position = candidates[start..].partition_point(|better| better.log_prob >= candidate.log_prob);
    candidates.insert(start + position, candidate);
}
