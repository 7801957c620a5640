//! Terms: words that a hypothesis is helped to complete once it has begun them.

use super::scorer::Logits;

/// What is added to the logit of a token that goes on with a term, in nats. Chosen by the lessons of `docs/learning.md`.
const COMPLETION: f32 = 6.0;

/// Makes the next token of each of `terms` more probable that `sequence` ends in a beginning of and has nowhere as a
/// whole. This is contextual biasing (Zhao et al. 2019, "Shallow-Fusion End-to-End Contextual Biasing") of all tokens but
/// the first: a term is completed against the model's will, but never begun.
pub(super) fn complete(logits: &mut Logits<'_>, sequence: &[u32], terms: &[&[u32]]) {
    for (i, term) in terms.iter().enumerate() {
        let Some(token) = next(sequence, term) else { continue };
        let done = terms[..i].iter().any(|term| next(sequence, term) == Some(token));
        if let (Some(logit), false) = (logits.of(token), done) {
            *logit += COMPLETION;
        }
    }
}

/// The token behind the longest beginning of `term` that `sequence` ends in, unless `sequence` has all of `term`.
fn next(sequence: &[u32], term: &[u32]) -> Option<u32> {
    if sequence.windows(term.len().max(1)).any(|window| window == term) {
        return None;
    }
    (1..term.len()).rev().find(|&begun| sequence.ends_with(&term[..begun])).map(|begun| term[begun])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raised(sequence: &[u32], terms: &[&[u32]]) -> [bool; 6] {
        let mut logits = [0.0; 6];
        complete(&mut Logits::full(&mut logits, 6), sequence, terms);
        assert!(logits.iter().all(|&logit| logit == 0.0 || logit == COMPLETION));
        logits.map(|logit| logit > 0.0)
    }

    #[test]
    fn what_is_begun_is_completed_once() {
        let token = |token: usize| core::array::from_fn(|i| i == token);
        let term: &[u32] = &[1, 2, 3];
        assert_eq!(raised(&[5], &[term]), [false; 6], "not begun");
        assert_eq!(raised(&[5, 1], &[term]), token(2));
        assert_eq!(raised(&[5, 1, 2], &[term]), token(3));
        assert_eq!(raised(&[1, 2, 4], &[term]), [false; 6], "left");
        assert_eq!(raised(&[1, 2, 3, 1], &[term]), [false; 6], "there already");
        assert_eq!(
            raised(&[1, 1, 2], &[&[1, 2, 1, 1, 2, 4], term]),
            [false, true, false, true, false, false]
        );
        assert_eq!(raised(&[1], &[term, &[1, 2, 4]]), token(2), "two terms, one token");
        assert_eq!(raised(&[1], &[&[], &[1]]), [false; 6], "nothing to complete");
    }
}
