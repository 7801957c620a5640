//! chrF (Popović, 2015) and chrF++ (Popović, 2017) as sacrebleu computes them.

use super::ngrams::{count_ngrams, matches};
use super::tokenize::{is_space, words};
use super::{Case, Row, SACREBLEU, Score, signature};
use std::hash::Hash;

/// The longest n-grams of characters.
const CHARACTER_ORDER: usize = 6;

/// Recall weighs this many times as much as precision.
const BETA: f64 = 2.0;

/// Which n-grams are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chrf {
    /// chrF2: of up to 6 characters.
    Characters,
    /// chrF2++: of up to 6 characters and up to 2 words.
    CharactersAndWords,
}

/// n-grams of one order.
#[derive(Clone, Copy, Default)]
struct Counts {
    hypothesis: usize,
    reference: usize,
    matched: usize,
}

/// A text as chrF reads it.
struct Text<'a> {
    /// All but white space.
    characters: Vec<char>,
    words: Vec<&'a str>,
}

/// chrF of a corpus: n-grams are counted over all rows, of each with the reference that suits it best.
pub fn chrf(rows: &[Row], kind: Chrf, case: Case) -> Score {
    let (name, word_order) = match kind {
        Chrf::Characters => ("chrF2", 0),
        Chrf::CharactersAndWords => ("chrF2++", 2),
    };
    let mut sums = vec![Counts::default(); CHARACTER_ORDER + word_order];
    for row in rows {
        let hypothesis = case.apply(&row.hypothesis);
        let hypothesis = Text::new(&hypothesis);
        let counts = row.references.iter().map(|reference| {
            let counts = count(&hypothesis, &Text::new(&case.apply(reference)), word_order);
            (f_score(&counts), counts)
        });
        let best = counts.reduce(|best, other| if other.0 > best.0 { other } else { best });
        for (sum, counts) in sums.iter_mut().zip(best.map(|(_, counts)| counts).unwrap_or_default()) {
            sum.hypothesis += counts.hypothesis;
            sum.reference += counts.reference;
            sum.matched += counts.matched;
        }
    }
    let (characters, words) = (CHARACTER_ORDER.to_string(), word_order.to_string());
    let keys = [
        ("case", case.signature()),
        ("eff", "yes"),
        ("nc", characters.as_str()),
        ("nw", words.as_str()),
        ("space", "no"),
    ];
    let signature = signature(rows, &keys, SACREBLEU);
    Score { name, signature, value: 100.0 * f_score(&sums), details: String::new() }
}

impl<'a> Text<'a> {
    fn new(text: &'a str) -> Self {
        let characters = text.chars().filter(|&c| !is_space(c)).collect();
        Self { characters, words: words(text).into_iter().flat_map(split_punctuation).collect() }
    }
}

/// A word and the ASCII punctuation mark at its end, or else at its start: `(hi)` is `(hi` and `)`.
fn split_punctuation(word: &str) -> impl Iterator<Item = &str> {
    let mark = |c: char| c.is_ascii_punctuation();
    let at = match word {
        _ if word.chars().nth(1).is_none() => word.len(),
        _ if word.ends_with(mark) => word.len() - 1,
        _ if word.starts_with(mark) => 1,
        _ => word.len(),
    };
    let (start, end) = word.split_at(at);
    [start, end].into_iter().filter(|part| !part.is_empty())
}

/// Counts for every order, those of characters first.
fn count(hypothesis: &Text<'_>, reference: &Text<'_>, word_order: usize) -> Vec<Counts> {
    let characters =
        (1..=CHARACTER_ORDER).map(|n| count_order(&hypothesis.characters, &reference.characters, n));
    let words = (1..=word_order).map(|n| count_order(&hypothesis.words, &reference.words, n));
    characters.chain(words).collect()
}

/// Counts of n-grams. Where the reference has none, those of the hypothesis do not count.
fn count_order<T: Eq + Hash>(hypothesis: &[T], reference: &[T], n: usize) -> Counts {
    let ngrams = |units: &[T]| (units.len() + 1).saturating_sub(n);
    Counts {
        hypothesis: if ngrams(reference) > 0 { ngrams(hypothesis) } else { 0 },
        reference: ngrams(reference),
        matched: matches(&count_ngrams(hypothesis, n), &count_ngrams(reference, n)),
    }
}

/// The F-score, 0 to 1, of precision and recall averaged over the orders that both sides have.
fn f_score(counts: &[Counts]) -> f64 {
    let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
    for counts in counts.iter().filter(|counts| counts.hypothesis > 0 && counts.reference > 0) {
        precision += counts.matched as f64 / counts.hypothesis as f64;
        recall += counts.matched as f64 / counts.reference as f64;
        orders += 1.0;
    }
    if precision + recall == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (precision / orders, recall / orders);
    let factor = BETA * BETA;
    (1.0 + factor) * precision * recall / (factor * precision + recall)
}

#[cfg(test)]
mod tests {
    use super::super::{rows, sample};
    use super::*;

    fn line(texts: &[(&str, &[&str])], kind: Chrf) -> String {
        chrf(&rows(texts), kind, Case::Mixed).line(4)
    }

    #[test]
    fn lines_are_those_of_sacrebleu() {
        let expected = [
            "chrF2|nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0 = 66.4202",
            "chrF2|nrefs:var|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0 = 53.1872",
            "chrF2++|nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:2.6.0 = 68.2653",
            "chrF2++|nrefs:var|case:mixed|eff:yes|nc:6|nw:2|space:no|version:2.6.0 = 53.1379",
        ];
        let lines = [Chrf::Characters, Chrf::CharactersAndWords]
            .map(|kind| [line(&sample::SINGLE, kind), line(&sample::MULTIPLE, kind)]);
        assert_eq!(lines.as_flattened(), expected);
    }

    #[test]
    fn orders_that_one_side_lacks_do_not_count() {
        assert!(line(&[("ab", &["abc"])], Chrf::Characters).ends_with(" = 63.6364"));
        assert!(line(&[("", &["a"])], Chrf::Characters).ends_with(" = 0.0000"));
    }

    #[test]
    fn one_mark_of_punctuation_is_split_from_a_word() {
        let lower = chrf(&rows(&[("(Hi) there!", &["(hi) There ."])]), Chrf::CharactersAndWords, Case::Lower);
        assert_eq!(
            lower.line(4),
            "chrF2++|nrefs:1|case:lc|eff:yes|nc:6|nw:2|space:no|version:2.6.0 = 82.1379"
        );
        let parts = |word| split_punctuation(word).collect::<Vec<_>>();
        assert_eq!(parts("(hi)"), ["(hi", ")"]);
        assert_eq!(parts("¿(hi"), ["¿(hi"]);
        assert_eq!(parts("'s"), ["'", "s"]);
        assert_eq!(parts("!"), ["!"]);
    }
}
