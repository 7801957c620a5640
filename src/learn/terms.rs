//! The terms of corrections: words of sources, and the words of targets that a user wants for them.

use std::collections::{BTreeMap, BTreeSet};

/// The least association of two words that makes them a term.
const ASSOCIATED: f32 = 0.8;

/// The fewest pairs that have both words of a term: in one pair, each word comes with every other.
const PAIRS: usize = 2;

/// Two words that go together.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate<'p> {
    pub source: &'p str,
    pub target: &'p str,
    /// The pairs that have both.
    pub places: Vec<usize>,
    association: f32,
}

/// The words that go together in `pairs` of a source and a target, each with the one that it is most often with: 2 n /
/// (a + b) is [`ASSOCIATED`] at least, with the numbers of pairs that have the one, a, the other, b, and both, n (Dice's
/// coefficient, as in Smadja, McKeown and Hatzivassiloglou 1996, "Translating Collocations for Bilingual Lexicons").
pub fn associated<'p>(pairs: &[(&'p str, &'p str)]) -> Vec<Candidate<'p>> {
    let sources = places(pairs.iter().map(|(source, _)| *source));
    let targets = places(pairs.iter().map(|(_, target)| *target));
    let mut found: Vec<Candidate<'p>> = Vec::new();
    for (&target, in_targets) in &targets {
        let mut beside = BTreeSet::new();
        in_targets.iter().for_each(|&place| beside.extend(words(pairs[place].0)));
        for source in beside {
            let in_sources = &sources[source];
            let both = in_sources.iter().copied().filter(|place| in_targets.binary_search(place).is_ok());
            let places: Vec<usize> = both.collect();
            let association = (2 * places.len()) as f32 / (in_sources.len() + in_targets.len()) as f32;
            if places.len() >= PAIRS && association >= ASSOCIATED {
                found.push(Candidate { source, target, places, association });
            }
        }
    }
    // Of equals the first.
    let better = |i: usize, j: usize| {
        let (a, b) = (&found[i], &found[j]);
        let rivals = i != j && (a.source == b.source || a.target == b.target);
        rivals && (a.association > b.association || (a.association == b.association && i < j))
    };
    let best: Vec<bool> = (0..found.len()).map(|j| (0..found.len()).all(|i| !better(i, j))).collect();
    let mut best = best.into_iter();
    found.retain(|_| best.next() == Some(true));
    found
}

/// In which texts each word is, ascending.
fn places<'t>(texts: impl Iterator<Item = &'t str>) -> BTreeMap<&'t str, Vec<usize>> {
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, text) in texts.enumerate() {
        for word in words(text) {
            let places = places.entry(word).or_default();
            if places.last() != Some(&place) {
                places.push(place);
            }
        }
    }
    places
}

/// What stands between white space in a text, without the punctuation around it.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
    words.filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_same_pairs_go_together() {
        let pairs = [
            ("The tit sings.", "Die Meise singt."),
            ("A tit!", "Eine Meise!"),
            ("I saw a tit.", "Ich sah eine Meise."),
            ("The gull flies.", "Die Möwe fliegt."),
            ("I am here.", "Ich bin hier."),
        ];
        let found = associated(&pairs);
        let found: Vec<_> = found.iter().map(|term| (term.source, term.target, &term.places[..])).collect();
        assert_eq!(found, [("The", "Die", &[0, 3][..]), ("I", "Ich", &[2, 4]), ("tit", "Meise", &[0, 1, 2])]);
    }

    #[test]
    fn a_word_has_the_one_that_it_is_most_often_with() {
        let pairs = [("x a", "y b"), ("x a", "y b"), ("x c", "y d"), ("x b", "y c"), ("x", "e")];
        let found = associated(&pairs);
        let found: Vec<_> = found.iter().map(|term| (term.source, term.target)).collect();
        assert_eq!(found, [("a", "b"), ("x", "y")]);
    }

    #[test]
    fn the_words_of_one_pair_are_no_terms() {
        assert_eq!(associated(&[("The tit sings.", "Die Meise singt.")]), []);
        assert_eq!(associated(&[]), []);
    }
}
