//! The unigram model: T. Kudo, "Subword Regularization", ACL 2018, section 3.2, with the constants of SentencePiece.
//!
//! From many candidates, expectation maximization finds the probabilities under which the text is most likely, and the
//! pieces whose loss costs the text the least likelihood are dropped, again and again until few enough are left.

use super::words::{MAX_PIECE, Words};
use std::collections::HashMap;

/// The most candidates.
const SEEDS: usize = 1_000_000;
/// How many words, the most frequent first, candidates are taken from.
const SEED_WORDS: usize = 200_000;
/// Rounds of expectation maximization between prunings.
const ROUNDS: usize = 2;
/// The share of pieces that a pruning keeps.
const KEPT: f64 = 0.75;
/// How many times the wanted pieces are left after the last pruning.
const MARGIN: f64 = 1.1;
/// Pieces that are expected fewer times are dropped.
const LEAST_EXPECTED: f64 = 0.5;

/// Pieces with their log-probabilities.
struct Model {
    pieces: Vec<(String, f64)>,
    ids: HashMap<String, usize>,
}

/// `size` pieces with their log-probabilities, the most probable first, or fewer where there are no more.
pub(super) fn pieces(words: &Words, size: usize) -> Vec<(String, f32)> {
    let margin = (size as f64 * MARGIN) as usize;
    let mut model = Model::new(seeds(words));
    loop {
        for _ in 0..ROUNDS {
            model = model.maximized(words);
        }
        if model.pieces.len() <= margin {
            break;
        }
        let fewer = (model.pieces.len() as f64 * KEPT) as usize;
        model = model.pruned(words, fewer.max(margin));
    }
    let mut pieces = most(model.pieces, size, |score| score);
    pieces.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    pieces.into_iter().map(|(piece, score)| (piece, score as f32)).collect()
}

fn is_character(piece: &str) -> bool {
    piece.chars().nth(1).is_none()
}

/// Every character and the `size` less so many other pieces that have the most by `value`.
fn most<T: Copy>(pieces: Vec<(String, T)>, size: usize, value: impl Fn(T) -> f64) -> Vec<(String, T)> {
    let (mut kept, mut others): (Vec<_>, Vec<_>) =
        pieces.into_iter().partition(|(piece, _)| is_character(piece));
    others.sort_by(|a, b| value(b.1).total_cmp(&value(a.1)).then_with(|| a.0.cmp(&b.0)));
    others.truncate(size.saturating_sub(kept.len()));
    kept.append(&mut others);
    kept
}

/// The parts of words that occur at least twice, and every character: the log of the share that each has of the text's
/// characters.
fn seeds(words: &Words) -> Vec<(String, f64)> {
    let mut order: Vec<(&str, u32)> = words.counts().collect();
    order.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let mut counts: HashMap<String, f64> = words.characters().map(|c| (c.to_string(), 1.0)).collect();
    for (word, count) in order.into_iter().take(SEED_WORDS) {
        for start in starts(word) {
            for end in ends(word, start) {
                match counts.get_mut(&word[start..end]) {
                    Some(sum) => *sum += f64::from(count),
                    None => drop(counts.insert(word[start..end].to_owned(), count.into())),
                }
            }
        }
    }
    let repeated = counts.into_iter().filter(|(piece, count)| *count >= 2.0 || is_character(piece));
    let weighted = repeated.map(|(piece, count)| (piece.chars().count() as f64 * count, piece));
    let mut seeds = most(weighted.map(|(weight, piece)| (piece, weight)).collect(), SEEDS, |weight| weight);
    seeds.sort_by(|a, b| a.0.cmp(&b.0)); // the order of sums must not be that of a hash map
    let sum: f64 = seeds.iter().map(|seed| seed.1).sum();
    seeds.iter_mut().for_each(|seed| seed.1 = (seed.1 / sum).ln());
    seeds
}

/// Where characters start.
fn starts(word: &str) -> impl DoubleEndedIterator<Item = usize> {
    word.char_indices().map(|(start, _)| start)
}

/// Where pieces from `start` can end.
fn ends(word: &str, start: usize) -> impl Iterator<Item = usize> {
    let end = move |(at, character): (usize, char)| start + at + character.len_utf8();
    word[start..].char_indices().take(MAX_PIECE).map(end)
}

impl Model {
    fn new(pieces: Vec<(String, f64)>) -> Self {
        let ids = pieces.iter().enumerate().map(|(id, (piece, _))| (piece.clone(), id)).collect();
        Self { pieces, ids }
    }

    /// The pieces that `word` has at `start`: id, score and end.
    fn at<'a>(&'a self, word: &'a str, start: usize) -> impl Iterator<Item = (usize, f64, usize)> + 'a {
        ends(word, start).filter_map(move |end| {
            let id = *self.ids.get(&word[start..end])?;
            Some((id, self.pieces[id].1, end))
        })
    }

    /// A round of expectation maximization. Digammas in place of logarithms make rare pieces rarer, as a sparse prior
    /// does (P. Liang & D. Klein, "Structured Bayesian Nonparametric Models with Variational Inference", ACL 2007).
    fn maximized(self, words: &Words) -> Self {
        let mut expected = vec![0.0; self.pieces.len()];
        for (word, count) in words.counts() {
            self.expect(word, count.into(), &mut expected);
        }
        let counted = self.pieces.into_iter().zip(expected);
        let kept: Vec<(String, f64)> = counted
            .filter(|((piece, _), expected)| *expected >= LEAST_EXPECTED || is_character(piece))
            .map(|((piece, _), expected)| (piece, expected.max(LEAST_EXPECTED)))
            .collect();
        let total = digamma(kept.iter().map(|piece| piece.1).sum());
        Self::new(kept.into_iter().map(|(piece, expected)| (piece, digamma(expected) - total)).collect())
    }

    /// Adds to `expected` how often each piece is in the segmentations of a word that occurs `count` times, by the
    /// forward-backward algorithm.
    fn expect(&self, word: &str, count: f64, expected: &mut [f64]) {
        let mut before = vec![f64::NEG_INFINITY; word.len() + 1]; // log-probability of what precedes
        let mut after = before.clone();
        before[0] = 0.0;
        for start in starts(word) {
            for (_, score, end) in self.at(word, start) {
                before[end] = log_add(before[end], before[start] + score);
            }
        }
        after[word.len()] = 0.0;
        for start in starts(word).rev() {
            for (_, score, end) in self.at(word, start) {
                after[start] = log_add(after[start], after[end] + score);
            }
        }
        for start in starts(word) {
            for (id, score, end) in self.at(word, start) {
                expected[id] += count * (before[start] + score + after[end] - after[0]).exp();
            }
        }
    }

    /// Drops the pieces that the text needs the least until `size` are left.
    fn pruned(self, words: &Words, size: usize) -> Self {
        let mut used = vec![0.0; self.pieces.len()];
        for (word, count) in words.counts() {
            self.best(word, None).into_iter().for_each(|id| used[id] += f64::from(count));
        }
        let total: f64 = used.iter().sum();
        let loss = |id: usize| {
            let piece = self.pieces[id].0.as_str();
            if used[id] == 0.0 || is_character(piece) {
                return 0.0;
            }
            // Without the piece, each of its uses becomes a use of every piece that it is cut into.
            let instead = self.best(piece, Some(id));
            let new_total = (total + used[id] * (instead.len() as f64 - 1.0)).ln();
            let scores = instead.iter().map(|&other| (used[other] + used[id]).ln() - new_total);
            used[id] * (used[id].ln() - total.ln() - scores.sum::<f64>())
        };
        let losses: Vec<f64> = (0..self.pieces.len()).map(loss).collect();
        let pieces = self.pieces.into_iter().zip(losses).zip(used);
        let needed = pieces.filter(|(((piece, _), _), used)| *used > 0.0 || is_character(piece));
        let needed = needed.map(|(((piece, score), loss), _)| (piece, (score, loss))).collect();
        let kept = most(needed, size, |(_, loss)| loss);
        Self::new(kept.into_iter().map(|(piece, (score, _))| (piece, score)).collect())
    }

    /// The most probable segmentation of `word` without the piece `without` (Viterbi).
    fn best(&self, word: &str, without: Option<usize>) -> Vec<usize> {
        let mut paths = vec![(f64::NEG_INFINITY, 0, 0); word.len() + 1]; // score, last piece, its start
        paths[0].0 = 0.0;
        for start in starts(word) {
            let so_far = paths[start].0;
            for (id, score, end) in self.at(word, start).filter(|piece| Some(piece.0) != without) {
                if so_far + score > paths[end].0 {
                    paths[end] = (so_far + score, id, start);
                }
            }
        }
        let (mut ids, mut end) = (Vec::new(), word.len());
        while end > 0 {
            let (_, id, start) = paths[end];
            ids.push(id);
            end = start;
        }
        ids
    }
}

/// `ln(e^a + e^b)`.
fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// The derivative of the logarithm of the gamma function, by recurrence and its asymptotic series (Abramowitz & Stegun
/// 6.3.5 and 6.3.18).
fn digamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 7.0 {
        shift -= 1.0 / x;
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    shift + x.ln() - 0.5 / x - square * (1.0 / 12.0 - square * (1.0 / 120.0 - square / 252.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_are_those_of_all_segmentations() {
        let p = [("a", 0.5f64), ("b", 0.3), ("ab", 0.2)];
        let model = Model::new(p.map(|(piece, p)| (piece.to_owned(), p.ln())).to_vec());
        let mut expected = [0.0; 3];
        model.expect("ab", 7.0, &mut expected);
        let split = 0.15 / 0.35;
        for (found, wanted) in expected.into_iter().zip([split, split, 1.0 - split]) {
            assert!((found - 7.0 * wanted).abs() < 1e-12, "{expected:?}");
        }
        assert_eq!(model.best("ab", None), [2]);
        assert_eq!(model.best("ab", Some(2)), [1, 0]);
    }

    #[test]
    fn digamma_is_that_of_the_tables() {
        // Abramowitz & Stegun, table 6.1: psi(1) is minus Euler's constant, psi(2) is 1 more.
        for (x, psi) in [(0.5, -1.963_510_026_021_4), (1.0, -0.577_215_664_9), (2.0, 0.422_784_335_1)] {
            assert!((digamma(x) - psi).abs() < 1e-9, "{x}: {}", digamma(x));
        }
    }

    #[test]
    fn frequent_words_become_pieces() {
        let words = Words::count(["cats sat on mats, mats sat on cats, cats on mats sat"].into_iter());
        let found: Vec<String> = pieces(&words, 13).into_iter().map(|piece| piece.0).collect();
        for piece in ["\u{2581}cats", "\u{2581}sat", "\u{2581}on", "\u{2581}mats"] {
            assert!(found.iter().any(|found| found == piece), "{found:?}");
        }
        assert_eq!(found.len(), 13);
    }
}
