//! Error rates: how much of the references the hypotheses miss.

use super::tokenize::{is_space, words};
use super::{Case, Row, Score, signature};
use siskin::text::edit_distance;

/// What errors are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorRate {
    /// WER: edits of words for each word of the references.
    Words,
    /// CER: edits of characters, white space between words included, for each character of the references.
    Characters,
    /// SER: outputs that equal none of their references, for each output.
    Strings,
}

/// An error rate of a corpus. White space around texts does not count.
///
/// An edit inserts, deletes or replaces. Edits and lengths are added up over all rows; of several references, the one
/// with the fewest edits for its length counts.
pub fn error_rate(rows: &[Row], kind: ErrorRate, case: Case) -> Score {
    let compared = |text: &String| case.apply(text.trim_matches(is_space));
    let (mut errors, mut length) = (0, 0);
    for row in rows {
        let hypothesis = compared(&row.hypothesis);
        let against = |reference| count(kind, &hypothesis, &compared(reference));
        let rate = |&(errors, length): &(usize, usize)| errors as f64 / length.max(1) as f64;
        let best = row.references.iter().map(against).min_by(|a, b| rate(a).total_cmp(&rate(b)));
        let best = best.unwrap_or_default();
        errors += best.0;
        length += best.1;
    }
    let name = match kind {
        ErrorRate::Words => "WER",
        ErrorRate::Characters => "CER",
        ErrorRate::Strings => "SER",
    };
    let version = concat!("siskin-", env!("CARGO_PKG_VERSION"));
    Score {
        name,
        signature: signature(rows, &[("case", case.signature())], version),
        value: 100.0 * errors as f64 / length.max(1) as f64,
        details: format!("({errors} / {length})"),
    }
}

/// Errors against one reference, and its length.
fn count(kind: ErrorRate, hypothesis: &str, reference: &str) -> (usize, usize) {
    match kind {
        ErrorRate::Words => edits(&words(hypothesis), &words(reference)),
        ErrorRate::Characters => {
            let characters = |text: &str| text.chars().collect::<Vec<_>>();
            edits(&characters(hypothesis), &characters(reference))
        }
        ErrorRate::Strings => (usize::from(hypothesis != reference), 1),
    }
}

fn edits<T: PartialEq>(hypothesis: &[T], reference: &[T]) -> (usize, usize) {
    (edit_distance(hypothesis, reference), reference.len())
}

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::*;

    fn value(kind: ErrorRate, texts: &[(&str, &[&str])]) -> f64 {
        error_rate(&rows(texts), kind, Case::Mixed).value
    }

    #[test]
    fn edits_are_counted_for_each_unit_of_the_references() {
        let texts: [(&str, &[&str]); 2] = [("the cat", &["the cat sat"]), ("a dog", &["a  big dog "])];
        assert_eq!(value(ErrorRate::Words, &texts), 100.0 * 2.0 / 6.0);
        assert_eq!(value(ErrorRate::Characters, &[("abcd", &["abxd"])]), 25.0);
        assert_eq!(value(ErrorRate::Characters, &[("abcdef", &["ab"])]), 200.0);
        assert_eq!(value(ErrorRate::Words, &[("a b", &[""])]), 200.0);
        assert_eq!(value(ErrorRate::Words, &[("", &[""])]), 0.0);
    }

    #[test]
    fn the_best_reference_counts() {
        let texts: [(&str, &[&str]); 2] = [("a b", &["a c", "a b"]), ("x", &["y"])];
        assert_eq!(value(ErrorRate::Strings, &texts), 50.0);
        assert_eq!(value(ErrorRate::Words, &texts), 100.0 / 3.0);
        // One edit of three words is less than one of one.
        assert_eq!(value(ErrorRate::Words, &[("a b c", &["a b", "a b c d"])]), 25.0);
    }

    #[test]
    fn the_line_names_case_and_counts() {
        let score = error_rate(&rows(&[("K ae t", &["k AE t"])]), ErrorRate::Strings, Case::Lower);
        assert_eq!(
            score.line(1),
            concat!("SER|nrefs:1|case:lc|version:siskin-", env!("CARGO_PKG_VERSION"), " = 0.0 (0 / 1)")
        );
    }
}
