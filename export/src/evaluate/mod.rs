//! How good outputs are, against one or more references each.

mod edit_distance;

pub use edit_distance::edit_distance;

/// A measure, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Metric {
    /// Share of outputs that equal one of their references. 100 minus this is the "word error rate" of the literature
    /// on pronunciation and transliteration, where a row is a word
    Exact,
    /// Word error rate: edits of words for each word of the references
    Wer,
    /// Character error rate: edits of characters for each character of the references
    Cer,
}

/// An output and what it should have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The output.
    pub hypothesis: String,
    /// Its references: at least one.
    pub references: Vec<String>,
}

impl Row {
    /// The row without the characters in `ignored`, in the output and in its references.
    #[must_use]
    pub fn without(&self, ignored: &str) -> Self {
        let strip = |text: &str| text.chars().filter(|&c| !ignored.contains(c)).collect();
        Self {
            hypothesis: strip(&self.hypothesis),
            references: self.references.iter().map(|reference| strip(reference)).collect(),
        }
    }
}

/// The score of `rows`, in percent; 0 for no rows.
pub fn score(metric: Metric, rows: &[Row]) -> f64 {
    match metric {
        Metric::Exact => {
            let exact = rows.iter().filter(|row| row.references.contains(&row.hypothesis)).count();
            percent(exact, rows.len())
        }
        Metric::Wer => error_rate(rows, |text| text.split_whitespace().collect()),
        Metric::Cer => error_rate(rows, |text| text.chars().collect()),
    }
}

/// Edits (insertions, deletions, replacements) for each unit of the references. Of several references, the one with
/// the fewest edits for its length counts.
fn error_rate<'a, T: PartialEq>(rows: &'a [Row], units: impl Fn(&'a str) -> Vec<T>) -> f64 {
    let (mut edits, mut length) = (0, 0);
    for row in rows {
        let hypothesis = units(&row.hypothesis);
        let against = |reference: &'a String| {
            let reference = units(reference);
            (edit_distance(&hypothesis, &reference), reference.len())
        };
        let rate = |&(edits, length): &(usize, usize)| edits as f64 / length.max(1) as f64;
        let best = row.references.iter().map(against).min_by(|a, b| rate(a).total_cmp(&rate(b)));
        let (row_edits, row_length) = best.unwrap_or((hypothesis.len(), 0));
        edits += row_edits;
        length += row_length;
    }
    percent(edits, length)
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(hypothesis: &str, references: &[&str]) -> Row {
        Row { hypothesis: hypothesis.into(), references: references.iter().map(|&r| r.into()).collect() }
    }

    #[test]
    fn any_reference_may_be_met() {
        let rows = [row("a b", &["a c", "a b"]), row("x", &["y"])];
        assert_eq!(score(Metric::Exact, &rows), 50.0);
        assert_eq!(score(Metric::Wer, &rows), 100.0 / 3.0);
    }

    #[test]
    fn error_rates_count_edits_for_each_unit() {
        let rows = [row("the cat", &["the cat sat"]), row("a dog", &["a big dog"])];
        assert_eq!(score(Metric::Wer, &rows), 100.0 * 2.0 / 6.0);
        assert_eq!(score(Metric::Cer, &[row("abcd", &["abxd"])]), 25.0);
        assert_eq!(score(Metric::Cer, &[row("abcdef", &["ab"])]), 200.0);
    }

    #[test]
    fn ignored_characters_are_in_neither_side() {
        let stressed = row("K AE1 T", &["K AE2 T"]);
        assert_eq!(score(Metric::Exact, std::slice::from_ref(&stressed)), 0.0);
        assert_eq!(score(Metric::Exact, &[stressed.without("0123456789")]), 100.0);
    }
}
