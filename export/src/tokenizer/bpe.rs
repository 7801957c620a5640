//! Byte-pair encoding: R. Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units", ACL 2016.

use super::words::{MAX_PIECE, Words};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

/// Two neighbours, as places in the list of pieces.
type Pair = (usize, usize);

/// Pieces and words while pairs are merged.
#[derive(Default)]
struct Merger {
    pieces: Vec<String>,
    ids: HashMap<String, usize>,
    /// Each word as pieces, and its count.
    words: Vec<(Vec<usize>, i64)>,
    /// How often a pair occurs, and in which words it has been.
    pairs: HashMap<Pair, (i64, BTreeSet<usize>)>,
    /// Pairs with the counts that they had; the greatest first, among equals the pair whose pieces are older.
    queue: BinaryHeap<(i64, Reverse<Pair>)>,
}

/// Characters, then what the most frequent pairs make: `size` pieces, or fewer where no pair is left. A score is minus the
/// place.
pub(super) fn pieces(words: &Words, size: usize) -> Vec<(String, f32)> {
    let mut merger = Merger::default();
    for character in words.characters() {
        merger.piece(character.to_string());
    }
    for (index, (word, count)) in words.counts().enumerate() {
        let symbols = word.chars().filter_map(|c| merger.ids.get(c.encode_utf8(&mut [0; 4])).copied());
        merger.words.push((symbols.collect(), count.into()));
        merger.count(index, 1);
    }
    merger.queue = merger.pairs.iter().map(|(&pair, &(count, _))| (count, Reverse(pair))).collect();
    while merger.pieces.len() < size {
        let Some((count, Reverse(pair))) = merger.queue.pop() else { break };
        match merger.pairs.get(&pair) {
            Some(&(current, _)) if current == count => merger.merge(pair),
            _ => {} // its count has changed since, and it was queued again
        }
    }
    merger.pieces.into_iter().enumerate().map(|(place, piece)| (piece, -(place as f32))).collect()
}

impl Merger {
    /// The place of the piece `text`, which is added where it is missing.
    fn piece(&mut self, text: String) -> usize {
        let next = self.pieces.len();
        *self.ids.entry(text).or_insert_with_key(|text| {
            self.pieces.push(text.clone());
            next
        })
    }

    /// Adds the pairs of word `index` to the counts, `sign` times. Returns them.
    fn count(&mut self, index: usize, sign: i64) -> Vec<Pair> {
        let (symbols, count) = &self.words[index];
        let pairs: Vec<Pair> = symbols.windows(2).map(|pair| (pair[0], pair[1])).collect();
        for &pair in &pairs {
            let (sum, places) = self.pairs.entry(pair).or_default();
            *sum += sign * count;
            places.insert(index);
        }
        pairs
    }

    /// Makes one piece of `pair` wherever it stands.
    fn merge(&mut self, pair: Pair) {
        let text = self.pieces[pair.0].clone() + &self.pieces[pair.1];
        let Some((count, places)) = self.pairs.remove(&pair) else { return };
        if count < 1 || text.chars().count() > MAX_PIECE {
            return;
        }
        let merged = self.piece(text);
        let mut changed = BTreeSet::new();
        for index in places {
            changed.extend(self.count(index, -1));
            merge_symbols(&mut self.words[index].0, pair, merged);
            changed.extend(self.count(index, 1));
        }
        self.pairs.remove(&pair);
        for pair in changed {
            if let Some(&(count, _)) = self.pairs.get(&pair).filter(|(count, _)| *count > 0) {
                self.queue.push((count, Reverse(pair)));
            }
        }
    }
}

/// Replaces each `pair` in `symbols`, from the left, by `merged`.
fn merge_symbols(symbols: &mut Vec<usize>, pair: Pair, merged: usize) {
    let mut old = std::mem::take(symbols).into_iter().peekable();
    while let Some(symbol) = old.next() {
        let is_pair = symbol == pair.0 && old.next_if_eq(&pair.1).is_some();
        symbols.push(if is_pair { merged } else { symbol });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_pair_is_merged_first() {
        let words = Words::count(["abab abab ab cab", "abc"].into_iter());
        let pieces: Vec<String> = pieces(&words, 8).into_iter().map(|piece| piece.0).collect();
        // ab occurs 7 times, then _ab 4 times and _abab twice.
        assert_eq!(pieces, ["a", "b", "c", "\u{2581}", "ab", "\u{2581}ab", "\u{2581}abab", "cab"]);
    }

    #[test]
    fn pairs_run_out() {
        let words = Words::count(["aa"].into_iter());
        let pieces: Vec<String> = pieces(&words, 100).into_iter().map(|piece| piece.0).collect();
        assert_eq!(pieces, ["a", "\u{2581}", "aa", "\u{2581}aa"]);
    }
}
