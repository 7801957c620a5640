//! Word translation probabilities: IBM Model 1.
//!
//! The model (Brown, Della Pietra, Della Pietra and Mercer 1993, "The mathematics of statistical machine translation",
//! section 4.1) explains every target token by one source token of the sentence, or by none ("null"), all equally
//! likely beforehand: `P(target | source) = Π_j Σ_i t(target_j | source_i) / (l + 1)`. Expectation-maximization finds
//! the table t: each target token is shared out among the source tokens in proportion to t, and t becomes the shares,
//! normalized.
//!
//! A table of all pairs that occur together would have a place for nearly every target token beside "the". So the first
//! round, in which shares are equal, is done for one source token after the other, and only its [`MOST`] largest shares
//! stay: memory is bounded by the vocabulary, and what is lost had next to no probability.

use super::Pair;

/// Target tokens that a source token keeps after the first round.
const MOST: usize = 1000;

/// t(target | source) for tokens.
#[derive(Clone, Debug)]
pub struct TranslationTable {
    /// Where the targets of each source token start, those of null behind the last token, and their end.
    starts: Vec<usize>,
    /// Ascending for each source token.
    targets: Vec<u32>,
    probabilities: Vec<f32>,
}

impl TranslationTable {
    /// The table after `iterations` rounds over `pairs`, the same on every machine.
    ///
    /// # Panics
    /// If a token is not below the size of its vocabulary.
    pub fn learn(pairs: &[Pair], source_size: usize, target_size: usize, iterations: usize) -> Self {
        let mut table = Self::first_round(pairs, source_size, target_size);
        for _ in 1..iterations {
            table.round(pairs);
        }
        table
    }

    /// The table after the first round, in which a target token is shared out equally.
    fn first_round(pairs: &[Pair], source_size: usize, target_size: usize) -> Self {
        let occurrences = Occurrences::of(pairs, source_size);
        let mut table = Self { starts: vec![0], targets: Vec::new(), probabilities: Vec::new() };
        let mut shares = vec![0.0f32; target_size];
        for source in 0..=source_size {
            let mut touched: Vec<u32> = Vec::new();
            for &pair in occurrences.of_token(source) {
                let Pair { source, target } = &pairs[pair as usize];
                for &token in target {
                    if shares[token as usize] == 0.0 {
                        touched.push(token);
                    }
                    shares[token as usize] += 1.0 / (source.len() + 1) as f32;
                }
            }
            touched.sort_unstable();
            touched.sort_by(|&a, &b| shares[b as usize].total_cmp(&shares[a as usize]));
            for token in touched.drain(touched.len().min(MOST)..) {
                shares[token as usize] = 0.0;
            }
            touched.sort_unstable();
            for token in touched {
                table.targets.push(token);
                table.probabilities.push(std::mem::take(&mut shares[token as usize]));
            }
            table.starts.push(table.targets.len());
        }
        table.normalize();
        table
    }

    /// Another round.
    fn round(&mut self, pairs: &[Pair]) {
        let mut shares = vec![0.0f32; self.targets.len()];
        let null = self.starts.len() as u32 - 2;
        let mut places = Vec::new();
        for Pair { source, target } in pairs {
            for &token in target {
                places.clear();
                places.extend(source.iter().chain([&null]).filter_map(|&source| self.place(source, token)));
                let sum: f32 = places.iter().map(|&place| self.probabilities[place]).sum();
                if sum > 0.0 {
                    for &place in &places {
                        shares[place] += self.probabilities[place] / sum;
                    }
                }
            }
        }
        self.probabilities = shares;
        self.normalize();
    }

    /// Makes the probabilities of every source token add up to 1.
    fn normalize(&mut self) {
        for ends in self.starts.windows(2) {
            let row = &mut self.probabilities[ends[0]..ends[1]];
            let sum: f32 = row.iter().sum();
            if sum > 0.0 {
                row.iter_mut().for_each(|probability| *probability /= sum);
            }
        }
    }

    /// Where t(target | source) is.
    fn place(&self, source: u32, target: u32) -> Option<usize> {
        let (start, end) = (self.starts[source as usize], self.starts[source as usize + 1]);
        self.targets[start..end].binary_search(&target).ok().map(|place| start + place)
    }

    /// t(target | source), 0 for a pair that never occurred or was not kept.
    pub fn probability(&self, source: u32, target: u32) -> f32 {
        self.place(source, target).map_or(0.0, |place| self.probabilities[place])
    }

    /// The `count` most probable targets of `source`, best first; of equal ones the lower token first. There are fewer
    /// where fewer occurred.
    pub fn best(&self, source: u32, count: usize) -> Vec<u32> {
        let places = self.starts[source as usize]..self.starts[source as usize + 1];
        let mut best: Vec<usize> = places.filter(|&place| self.probabilities[place] > 0.0).collect();
        best.sort_by(|&a, &b| self.probabilities[b].total_cmp(&self.probabilities[a]));
        best.into_iter().take(count).map(|place| self.targets[place]).collect()
    }
}

/// In which pairs each source token occurs, as often as it does there.
struct Occurrences {
    starts: Vec<usize>,
    pairs: Vec<u32>,
}

impl Occurrences {
    fn of(pairs: &[Pair], source_size: usize) -> Self {
        let mut starts = vec![0; source_size + 2];
        for &token in pairs.iter().flat_map(|pair| &pair.source) {
            starts[token as usize + 1] += 1;
        }
        starts[source_size + 1] = pairs.len(); // null occurs in every pair
        for token in 0..=source_size {
            starts[token + 1] += starts[token];
        }
        let mut next = starts.clone();
        let mut sorted = vec![0; starts[source_size + 1]];
        for (index, pair) in pairs.iter().enumerate() {
            for token in pair.source.iter().map(|&token| token as usize).chain([source_size]) {
                sorted[next[token]] = index as u32;
                next[token] += 1;
            }
        }
        Self { starts, pairs: sorted }
    }

    fn of_token(&self, token: usize) -> &[u32] {
        &self.pairs[self.starts[token]..self.starts[token + 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(source: &[u32], target: &[u32]) -> Pair {
        Pair { source: source.to_vec(), target: target.to_vec() }
    }

    /// "das Haus" the house, "das Buch" the book, "ein Buch" a book: the example of Koehn's "Statistical Machine
    /// Translation", section 4.2.
    #[test]
    fn words_are_told_apart_by_their_sentences() {
        let (das, haus, buch, ein) = (0, 1, 2, 3);
        let (the, house, book, a) = (4, 5, 6, 7);
        let pairs = [
            pair(&[das, haus], &[the, house]),
            pair(&[das, buch], &[the, book]),
            pair(&[ein, buch], &[a, book]),
        ];
        let table = TranslationTable::learn(&pairs, 4, 8, 20);
        for (source, target) in [(das, the), (haus, house), (buch, book), (ein, a)] {
            assert_eq!(table.best(source, 1), [target]);
            let sum: f32 = (0..8).map(|target| table.probability(source, target)).sum();
            assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        }
        assert_eq!((table.probability(das, a), table.probability(haus, book)), (0.0, 0.0));
        assert_eq!(table.best(das, 9).len(), 3);
    }

    /// One round by hand: null, "x y" -> "p", "x" -> "p q".
    #[test]
    fn shares_are_those_of_the_formula() {
        let pairs = [pair(&[0, 1], &[0]), pair(&[0], &[0, 1])];
        let first = TranslationTable::learn(&pairs, 3, 2, 1);
        // x: p gets 1/3 + 1/2, q gets 1/2.
        assert!((first.probability(0, 0) - (5.0 / 6.0) / (4.0 / 3.0)).abs() < 1e-6);
        assert_eq!((first.probability(1, 0), first.probability(1, 1)), (1.0, 0.0));
        assert!(first.best(2, 5).is_empty());
        let second = TranslationTable::learn(&pairs, 3, 2, 2);
        // t(p|x) = t(p|null) = 5/8, t(p|y) = 1, so x's share of p is 5/8 / (5/8 + 5/8 + 1) in the first pair and half in
        // the second, and half of q.
        let (first, second_pair) = (0.625 / 2.25, 0.5);
        let expected = (first + second_pair) / (first + second_pair + 0.5);
        assert!((second.probability(0, 0) - expected).abs() < 1e-6, "{}", second.probability(0, 0));
    }

    #[test]
    fn a_frequent_token_keeps_the_largest_shares() {
        let mut pairs: Vec<Pair> = (0..1500).map(|target| pair(&[0], &[target])).collect();
        pairs.push(pair(&[0], &[1400]));
        let table = TranslationTable::learn(&pairs, 1, 1500, 2);
        assert_eq!(table.best(0, 5), [1400, 0, 1, 2, 3]);
        assert_eq!(table.best(0, 2000).len(), MOST);
    }
}
