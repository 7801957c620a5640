//! Beam search: the best continuations of all hypotheses of a sentence.

use alloc::vec::Vec;

use super::frontier::{Candidate, Frontier, log_prob};
use crate::error::Result;

/// Logits of which only the largest is looked at first.
const BLOCK: usize = 64;

/// Adds the `count` continuations with the highest log-probability to `candidates`, best first. Of equal ones the
/// lower row comes first, then the lower token. There are fewer where there are not as many.
///
/// Log-probabilities rise with the logits, rounding included, so a block whose largest logit does not enter is skipped.
pub(super) fn best_continuations(
    frontier: &Frontier,
    count: usize,
    candidates: &mut Vec<Candidate>,
) -> Result<()> {
    let start = candidates.len();
    for (row, hypothesis, logits) in frontier.iter() {
        let Some(normalizer) = frontier.normalizer(logits)? else { continue };
        let continued = |logit: f32| hypothesis.log_prob + log_prob(logit, normalizer);
        let mut bar = bar_of(&candidates[start..], count);
        for (block, logits) in logits.chunks(BLOCK).enumerate() {
            if continued(largest(logits)) <= bar {
                continue;
            }
            for (column, &logit) in logits.iter().enumerate() {
                let log_prob_with = continued(logit);
                if log_prob_with > bar {
                    let token = frontier.columns.token(block * BLOCK + column);
                    let token_log_prob = log_prob(logit, normalizer);
                    let candidate =
                        Candidate { row, token, token_log_prob, log_prob: log_prob_with, sample: 0 };
                    enter(candidate, start, count, candidates);
                    bar = bar_of(&candidates[start..], count);
                }
            }
        }
    }
    Ok(())
}

/// The largest of finite or negatively infinite numbers, by lanes that make vectors.
fn largest(logits: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 8];
    let (chunks, rest) = logits.as_chunks::<8>();
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane = if logit > *lane { logit } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |max, &logit| if logit > max { logit } else { max })
}

/// What a log-probability must be above to be among the `count` best.
fn bar_of(best: &[Candidate], count: usize) -> f32 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::frontier::Row;
    use crate::decode::history::Branch;
    use crate::decode::scorer::Columns;
    use crate::kernels::Kernels;

    /// `(row, token)` of the best continuations of hypotheses with these log-probabilities.
    fn best(log_probs: &[f32], logits: &[f32], count: usize) -> Vec<(usize, u32)> {
        let row = |&log_prob: &f32| Row { branch: Branch::EMPTY, log_prob, sample: 0 };
        let rows: Vec<Row> = log_probs.iter().map(row).collect();
        let vocabulary = logits.len() / rows.len();
        let kernels = Kernels::detect().unwrap();
        let columns = Columns::All(vocabulary);
        let frontier = Frontier { kernels, rows: &rows, first: 10, logits, columns, constrained: true };
        let mut candidates = Vec::new();
        best_continuations(&frontier, count, &mut candidates).unwrap();
        assert!(candidates.windows(2).all(|pair| pair[0].log_prob >= pair[1].log_prob));
        candidates.iter().map(|candidate| (candidate.row, candidate.token)).collect()
    }

    #[test]
    fn of_equals_the_lower_row_and_token_come_first() {
        assert_eq!(best(&[-1.0, -1.0], &[0.0; 6], 4), [(10, 0), (10, 1), (10, 2), (11, 0)]);
        assert_eq!(best(&[-2.0, -1.0], &[0.0; 4], 3), [(11, 0), (11, 1), (10, 0)]);
        assert_eq!(best(&[0.0, 0.0], &[0.0, 1.0, 1.0, 0.0], 2), [(10, 1), (11, 0)]);
    }

    #[test]
    fn forbidden_tokens_and_rows_have_no_continuation() {
        const NO: f32 = f32::NEG_INFINITY;
        assert_eq!(best(&[-1.0, -1.0], &[NO, 0.0, NO, NO, NO, NO], 4), [(10, 1)]);
        assert!(best(&[-1.0], &[NO, NO], 4).is_empty());
    }

    #[test]
    fn no_block_is_skipped_that_has_one_of_the_best() {
        let mut logits = alloc::vec![0.0; 3 * BLOCK + 5];
        let places = [130, 3 * BLOCK + 4, 63, 64, 0];
        for (rank, token) in places.into_iter().enumerate() {
            logits[token] = 5.0 - rank as f32 * 0.5;
        }
        let tokens = best(&[0.0], &logits, 5).into_iter().map(|(_, token)| token as usize);
        assert!(tokens.eq(places));
    }
}
