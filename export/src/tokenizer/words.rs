//! What pieces are learned from: words with their counts.

use std::collections::BTreeMap;

/// The share of all characters that get a piece; the rarest are left to byte pieces. SentencePiece's default.
const COVERAGE: f64 = 0.9995;
/// The most characters of a piece. SentencePiece's default.
pub(super) const MAX_PIECE: usize = 16;
/// Longer words are cut, since the sums over their segmentations have no bounds.
const MAX_LENGTH: usize = 64;

/// Words and how often they occur, in order of their text.
pub(super) struct Words {
    counts: BTreeMap<String, u32>,
    characters: Vec<char>,
}

impl Words {
    /// Cuts `texts` at spaces, in front of which a piece may start, and where letters, digits and other characters meet,
    /// as SentencePiece does: no piece holds both `t` and `,`. Words end at characters that are too rare for a piece.
    pub(super) fn count<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut words: BTreeMap<&str, u32> = BTreeMap::new();
        for word in texts.flat_map(|text| text.split(' ')).filter(|word| !word.is_empty()) {
            let count = words.entry(word).or_default();
            *count = count.saturating_add(1);
        }
        let frequent = frequent_characters(&words);
        let mut counts = BTreeMap::new();
        for (word, count) in words {
            for part in parts(word, &frequent) {
                let sum: &mut u32 = counts.entry(part).or_default();
                *sum = sum.saturating_add(count);
            }
        }
        Self { counts, characters: frequent.into_keys().collect() }
    }

    /// The characters of the words, in their order.
    pub(super) fn characters(&self) -> impl Iterator<Item = char> + '_ {
        self.characters.iter().copied()
    }

    /// Every word with its count.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&str, u32)> {
        self.counts.iter().map(|(word, &count)| (word.as_str(), count))
    }
}

/// Characters by their counts; U+2581 counts once a word.
fn frequent_characters(words: &BTreeMap<&str, u32>) -> BTreeMap<char, u64> {
    let mut counts: BTreeMap<char, u64> = BTreeMap::new();
    for (word, &count) in words {
        for character in word.chars().chain(['\u{2581}']).filter(|&character| character != '\0') {
            *counts.entry(character).or_default() += u64::from(count);
        }
    }
    let enough = COVERAGE * counts.values().sum::<u64>() as f64;
    let mut order: Vec<(char, u64)> = counts.into_iter().collect();
    order.sort_by_key(|&(character, count)| (std::cmp::Reverse(count), character));
    let mut covered = 0;
    let is_needed = |&(_, count): &(char, u64)| {
        let needed = (covered as f64) < enough;
        covered += count;
        needed
    };
    order.into_iter().take_while(is_needed).collect()
}

/// The parts of a word that pieces may lie in.
fn parts(word: &str, frequent: &BTreeMap<char, u64>) -> Vec<String> {
    let mut parts = vec![String::from('\u{2581}')];
    let (mut class, mut length) = (None, 0);
    for character in word.chars() {
        let new = frequent.contains_key(&character).then(|| Class::of(character));
        if (new != class && class.is_some()) || length == MAX_LENGTH || new.is_none() {
            parts.push(String::new());
            length = 0;
        }
        if let (Some(_), Some(part)) = (new, parts.last_mut()) {
            part.push(character);
            length += 1;
        }
        class = new;
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Digit,
    Other,
}

impl Class {
    fn of(character: char) -> Self {
        match character {
            _ if character.is_alphabetic() => Self::Letter,
            _ if character.is_numeric() => Self::Digit,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_where_no_piece_reaches() {
        let text = "don't  say \u{2581}42nd! don't";
        let words = Words::count([text].into_iter());
        let found: Vec<_> = words.counts().collect();
        let expected = [
            ("!", 1),
            ("'", 2),
            ("42", 1),
            ("nd", 1),
            ("t", 2),
            ("\u{2581}don", 2),
            ("\u{2581}say", 1),
            ("\u{2581}\u{2581}", 1),
        ];
        assert_eq!(found, expected);
        assert_eq!(words.characters().count(), 12);
    }

    #[test]
    fn long_words_are_cut_and_rare_characters_left_out() {
        let text = "x".repeat(5000) + "\u{6771}" + "y" + &"x".repeat(4998);
        let words = Words::count([text.as_str()].into_iter());
        assert!(words.counts().all(|(word, _)| word.chars().count() <= MAX_LENGTH + 1));
        assert_eq!(words.characters().collect::<Vec<_>>(), ['x']);
    }
}
