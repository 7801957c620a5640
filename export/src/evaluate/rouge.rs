//! ROUGE (Lin, 2004) as the package rouge-score computes it, without stemming.

use super::ngrams::{count_ngrams, matches};
use super::{Row, Score, signature};

/// The version of rouge-score whose scores are given.
const ROUGE_SCORE: &str = "rouge-score-0.1.2";

/// What two texts are expected to share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rouge {
    /// Words.
    One,
    /// Pairs of neighbouring words.
    Two,
    /// The longest sequence of words, others between them allowed.
    L,
}

/// The mean F-measure over the rows; of several references, the one with the highest counts.
///
/// Words are runs of ASCII letters and digits: the measure is made for English.
pub fn rouge(rows: &[Row], kind: Rouge) -> Score {
    let name = match kind {
        Rouge::One => "ROUGE-1",
        Rouge::Two => "ROUGE-2",
        Rouge::L => "ROUGE-L",
    };
    let best = |row: &Row| {
        let hypothesis = row.hypothesis.to_lowercase();
        let hypothesis = words(&hypothesis);
        let against = |reference: &String| f_measure(kind, &hypothesis, &words(&reference.to_lowercase()));
        row.references.iter().map(against).fold(0.0, f64::max)
    };
    let value = 100.0 * rows.iter().map(best).sum::<f64>() / rows.len().max(1) as f64;
    let signature = signature(rows, &[("case", "lc"), ("stem", "no")], ROUGE_SCORE);
    Score { name, signature, value, details: String::new() }
}

fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect()
}

/// The harmonic mean of the shares of both sides that are shared, 0 to 1.
fn f_measure(kind: Rouge, hypothesis: &[&str], reference: &[&str]) -> f64 {
    let ngrams = |n| matches(&count_ngrams(hypothesis, n), &count_ngrams(reference, n));
    let (shared, n) = match kind {
        Rouge::One => (ngrams(1), 1),
        Rouge::Two => (ngrams(2), 2),
        Rouge::L => (longest_common_subsequence(hypothesis, reference), 1),
    };
    let of = |words: &[&str]| shared as f64 / (words.len() + 1).saturating_sub(n).max(1) as f64;
    let (precision, recall) = (of(hypothesis), of(reference));
    if shared == 0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) }
}

/// Its length, by the algorithm of Wagner & Fischer (1974).
fn longest_common_subsequence(a: &[&str], b: &[&str]) -> usize {
    let mut row = vec![0; b.len() + 1]; // lengths with each prefix of b
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let length = if x == y { diagonal + 1 } else { row[j].max(row[j + 1]) };
            diagonal = row[j + 1];
            row[j + 1] = length;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::super::{rows, sample};
    use super::*;

    /// ROUGE-1, ROUGE-2 and ROUGE-L.
    fn values(texts: &[(&str, &[&str])]) -> [String; 3] {
        [Rouge::One, Rouge::Two, Rouge::L].map(|kind| format!("{:.4}", rouge(&rows(texts), kind).value))
    }

    #[test]
    fn values_are_those_of_rouge_score() {
        assert_eq!(values(&sample::SINGLE), ["86.8421", "73.5294", "86.8421"]);
        assert_eq!(values(&sample::MULTIPLE), ["58.3333", "39.7436", "58.3333"]);
        let german: [(&str, &[&str]); 2] =
            [("Für die Katze, 2nd-best", &["fur die katze 2nd best"]), ("", &["x"])];
        assert_eq!(values(&german), ["36.3636", "33.3333", "36.3636"]);
    }

    #[test]
    fn a_subsequence_keeps_its_order() {
        let length = |a: &str, b: &str| longest_common_subsequence(&words(a), &words(b));
        assert_eq!(length("a b c d", "b x d a"), 2);
        assert_eq!(length("a b a b", "b b"), 2);
        assert_eq!(length("", "a"), 0);
    }
}
