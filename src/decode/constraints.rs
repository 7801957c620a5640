//! What keeps tokens from being chosen.

use super::options::DecodeOptions;
use super::scorer::Logits;

const FORBIDDEN: f32 = f32::NEG_INFINITY;

impl DecodeOptions {
    /// Whether [`constrain`](Self::constrain) reads the tokens of a hypothesis.
    pub(super) fn needs_sequence(&self) -> bool {
        self.no_repeat_ngram > 0 || self.repetition_penalty != 1.0
    }

    /// Changes the `logits` of the token after `sequence`, the forced and the chosen tokens of one hypothesis; `length`
    /// of them were chosen. A token without a column is as forbidden as a token can be. Leaves `sequence` sorted.
    pub(super) fn constrain(&self, logits: &mut Logits<'_>, sequence: &mut [u32], length: usize, end: u32) {
        if length < self.min_length {
            forbid(logits, end);
        }
        for &token in &self.suppressed {
            forbid(logits, token);
        }
        forbid_repeated_ngrams(logits, sequence, self.no_repeat_ngram);
        if self.repetition_penalty != 1.0 {
            penalize_repetition(logits, sequence, self.repetition_penalty);
        }
    }
}

fn forbid(logits: &mut Logits<'_>, token: u32) {
    if let Some(logit) = logits.of(token) {
        *logit = FORBIDDEN;
    }
}

/// Forbids every token that would complete an n-gram that `sequence` already has (Paulus, Xiong and Socher 2018,
/// "A deep reinforced model for abstractive summarization", section 2.5, there for trigrams).
fn forbid_repeated_ngrams(logits: &mut Logits<'_>, sequence: &[u32], n: usize) {
    if n == 0 || sequence.len() < n {
        return;
    }
    let begun = &sequence[sequence.len() + 1 - n..];
    for ngram in sequence.windows(n) {
        if ngram.starts_with(begun) {
            forbid(logits, ngram[n - 1]);
        }
    }
}

/// Makes each token of `sequence` less probable (Keskar et al. 2019, "CTRL", section 4.1). A negative logit is
/// multiplied, not divided, so that the penalty lowers it too.
fn penalize_repetition(logits: &mut Logits<'_>, sequence: &mut [u32], penalty: f32) {
    sequence.sort_unstable();
    for same in sequence.chunk_by(|a, b| a == b) {
        if let Some(logit) = logits.of(same[0]) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::scorer::Columns;

    #[test]
    fn forbids_the_last_token_of_each_ngram_that_would_come_twice() {
        let forbidden = |sequence: &[u32], n| {
            let mut logits = [0.0; 5];
            forbid_repeated_ngrams(&mut Logits::full(&mut logits, 5), sequence, n);
            logits.map(|logit| logit == FORBIDDEN)
        };
        assert_eq!(forbidden(&[1, 2, 3, 1, 4, 1], 2), [false, false, true, false, true]);
        assert_eq!(forbidden(&[1, 2, 3, 1, 2], 3), [false, false, false, true, false]);
        assert_eq!(forbidden(&[0, 3], 1), [true, false, false, true, false]);
        assert_eq!(forbidden(&[1, 1], 2), [false, true, false, false, false]);
        assert_eq!(forbidden(&[1, 2], 3), [false; 5]);
        assert_eq!(forbidden(&[1, 1], 0), [false; 5]);
    }

    #[test]
    fn penalizes_each_token_once() {
        let mut logits = [4.0, -4.0, 2.0, 0.0, FORBIDDEN];
        penalize_repetition(&mut Logits::full(&mut logits, 5), &mut [1, 0, 1, 0, 4], 2.0);
        assert_eq!(logits, [2.0, -8.0, 2.0, 0.0, FORBIDDEN]);
    }

    #[test]
    fn only_listed_tokens_have_a_logit_to_change() {
        let mut logits = [1.0; 3];
        let columns = Columns::Listed(&[2, 5, 9]);
        let options =
            DecodeOptions { suppressed: [4, 9].to_vec(), repetition_penalty: 2.0, ..Default::default() };
        options.constrain(&mut Logits { values: &mut logits, columns }, &mut [5, 8, 3], 3, 2);
        assert_eq!(logits, [1.0, 0.5, FORBIDDEN]);
    }
}
