//! Counting n-grams.

use std::collections::HashMap;
use std::hash::Hash;

/// How often each sequence of `n` neighbours occurs in `units`.
pub(super) fn count_ngrams<T: Eq + Hash>(units: &[T], n: usize) -> HashMap<&[T], usize> {
    let mut counts = HashMap::new();
    for ngram in units.windows(n) {
        *counts.entry(ngram).or_default() += 1;
    }
    counts
}

/// The size of the intersection: every n-gram counts as often as it occurs in both.
pub(super) fn matches<T: Eq + Hash>(a: &HashMap<&[T], usize>, b: &HashMap<&[T], usize>) -> usize {
    a.iter().map(|(ngram, &count)| count.min(b.get(ngram).copied().unwrap_or(0))).sum()
}
